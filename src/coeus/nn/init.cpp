#include "coeus/nn/init.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "coeus/base/error.h"
#include "coeus/base/random.h"

namespace coeus::nn {

namespace {

template <class Draw>
void fill(at::Tensor& parameter, Draw draw) {
  COEUS_CHECK(parameter.device().is_cpu() && parameter.is_contiguous(),
              "[init] parameters are drawn on the CPU and contiguous, got device {}",
              parameter.device().str());
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, parameter.scalar_type(), "init", [&] {
    auto* values = parameter.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, parameter.numel(), 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        values[i] = static_cast<scalar_t>(static_cast<float>(draw(i)));
    });
  });
}

double normal_probability(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }

}  // namespace

void init_normal(at::Tensor& parameter, uint64_t seed, std::string_view name, double std) {
  const CounterRandom random(seed, name);
  fill(parameter, [&](int64_t i) { return std * random.normal(i); });
}

void init_truncated_normal(at::Tensor& parameter, uint64_t seed, std::string_view name, double std,
                           double cut) {
  const CounterRandom random(seed, name);
  const double low = normal_probability(-cut / std);
  const double width = 1 - 2 * low;
  fill(parameter, [&](int64_t i) {
    return std::clamp(std * normal_quantile(low + width * random.uniform(i)), -cut, cut);
  });
}

void init_uniform(at::Tensor& parameter, uint64_t seed, std::string_view name, double bound) {
  const CounterRandom random(seed, name);
  fill(parameter, [&](int64_t i) { return bound * (2 * random.uniform(i) - 1); });
}

void init_zeros(at::Tensor& parameter) {
  at::NoGradGuard no_grad;
  parameter.zero_();
}

void init_ones(at::Tensor& parameter) {
  at::NoGradGuard no_grad;
  parameter.fill_(1.0);
}

}  // namespace coeus::nn
