#include "coeus/nn/init.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "coeus/base/error.h"
#include "coeus/base/random.h"
#include "coeus/ops/fused_operations.h"
#include "coeus/ops/parallel_for.h"

namespace coeus::nn {

namespace {

thread_local const std::map<std::string, TensorSlice>* current_slices = nullptr;

/// The box of the whole that the parameter of this name holds.
TensorSlice slice_of(const at::Tensor& parameter, std::string_view name) {
  if (current_slices != nullptr)
    if (const auto found = current_slices->find(std::string(name)); found != current_slices->end())
      return found->second;
  return TensorSlice::whole_of(parameter.sizes().vec());
}

/// Where in the whole the box's run of neighbouring elements number `run` begins; runs are as long
/// as the box's last dimension.
int64_t start_of_run(const TensorSlice& slice, int64_t run) {
  int64_t start = slice.begin.back();
  int64_t stride = slice.whole.back();
  for (auto dim = static_cast<int64_t>(slice.size.size()) - 2; dim >= 0; --dim) {
    start += (slice.begin[dim] + run % slice.size[dim]) * stride;
    run /= slice.size[dim];
    stride *= slice.whole[dim];
  }
  return start;
}

/// `draw` gives the value of an element; `on_device` says the same to a device that can draw
/// itself.
template <class Draw>
void fill(at::Tensor& parameter, std::string_view name, const CounterRandom& random,
          RandomDraw on_device, Draw draw) {
  if (!parameter.device().is_cpu()) {
    const at::NoGradGuard no_grad;
    const TensorSlice slice = slice_of(parameter, name);
    FusedOperations* const device = fused_operations(parameter);
    if (device != nullptr && parameter.is_contiguous()) {
      on_device.state = random.state();
      if (!slice.is_whole()) {
        on_device.begin = slice.begin;
        on_device.size = slice.size;
        on_device.whole = slice.whole;
      }
      device->draw(parameter, on_device);
      return;
    }
    at::Tensor drawn = at::empty(parameter.sizes(), parameter.options().device(at::kCPU));
    fill(drawn, name, random, on_device, draw);
    parameter.copy_(drawn);
    return;
  }
  COEUS_CHECK(parameter.is_contiguous(), "[init] {} is not contiguous", name);
  if (parameter.numel() == 0) return;
  const TensorSlice slice = slice_of(parameter, name);
  COEUS_CHECK(parameter.sizes().vec() == slice.size,
              "[init] {} holds {}, but its slice is of size {}", name, parameter.sizes(),
              fmt::join(slice.size, ", "));
  const int64_t run_length = slice.size.empty() ? 1 : slice.size.back();
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, parameter.scalar_type(), "init", [&] {
    auto* values = parameter.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, parameter.numel(), 4096, [&](int64_t begin, int64_t end) {
      int64_t i = begin;
      while (i < end) {
        const int64_t in_run = i % run_length;
        const int64_t start = slice.is_whole() ? i - in_run : start_of_run(slice, i / run_length);
        const int64_t stop = std::min(end, i - in_run + run_length);
        for (int64_t place = start + in_run; i < stop; ++i, ++place)
          values[i] = static_cast<scalar_t>(static_cast<float>(draw(place)));
      }
    });
  });
}

double normal_probability(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }

}  // namespace

SlicedInit::SlicedInit(const std::map<std::string, TensorSlice>& slices) : before_(current_slices) {
  current_slices = &slices;
}

SlicedInit::~SlicedInit() { current_slices = before_; }

void init_normal(at::Tensor& parameter, uint64_t seed, std::string_view name, double std) {
  const CounterRandom random(seed, name);
  fill(parameter, name, random, {.scale = std}, [&](int64_t i) { return std * random.normal(i); });
}

void init_truncated_normal(at::Tensor& parameter, uint64_t seed, std::string_view name, double std,
                           double cut) {
  const CounterRandom random(seed, name);
  const double low = normal_probability(-cut / std);
  const double width = 1 - 2 * low;
  const RandomDraw on_device = {.distribution = RandomDraw::Distribution::kTruncatedNormal,
                                .scale = std,
                                .cut = cut,
                                .low = low};
  fill(parameter, name, random, on_device, [&](int64_t i) {
    return std::clamp(std * normal_quantile(low + width * random.uniform(i)), -cut, cut);
  });
}

void init_uniform(at::Tensor& parameter, uint64_t seed, std::string_view name, double bound) {
  const CounterRandom random(seed, name);
  fill(parameter, name, random,
       {.distribution = RandomDraw::Distribution::kUniform, .scale = bound},
       [&](int64_t i) { return bound * (2 * random.uniform(i) - 1); });
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
