#include "coeus/nn/yarn.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "coeus/base/error.h"

namespace coeus::nn {

namespace {

/// The pair, as a real number, that turns `rotations` times in the original context.
double pair_that_turns(double rotations, double head_dim, double theta, const Yarn& yarn) {
  const auto original = static_cast<double>(yarn.original_max_position);
  return head_dim * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(theta));
}

}  // namespace

at::Tensor yarn_frequencies(const at::Tensor& frequencies, double theta, const Yarn& yarn) {
  COEUS_CHECK(yarn.factor > 0 && yarn.original_max_position > 0,
              "[yarn_frequencies] factor and original_max_position must be positive, got {} and {}",
              yarn.factor, yarn.original_max_position);
  const auto pairs = static_cast<double>(frequencies.numel());
  const double head_dim = 2 * pairs;
  const double low =
      std::max(std::floor(pair_that_turns(yarn.beta_fast, head_dim, theta, yarn)), 0.0);
  double high =
      std::min(std::ceil(pair_that_turns(yarn.beta_slow, head_dim, theta, yarn)), head_dim - 1);
  if (low == high) high += 0.001;
  const at::Tensor place = at::arange(frequencies.numel()).to(at::kFloat);
  const at::Tensor keep = 1 - at::clamp((place - low) / (high - low), 0, 1);
  return frequencies / yarn.factor * (1 - keep) + frequencies * keep;
}

double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

}  // namespace coeus::nn
