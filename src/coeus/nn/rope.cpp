#include "coeus/nn/rope.h"

#include <torch/types.h>

#include <numbers>

#include "coeus/base/error.h"

namespace coeus::nn {

namespace {

at::Tensor scaled(const at::Tensor& freqs, const RopeScaling& scaling) {
  const at::Tensor wavelength = 2 * std::numbers::pi / freqs;
  const double original = static_cast<double>(scaling.original_max_position);
  const at::Tensor is_long = wavelength > original / scaling.low_freq_factor;
  const at::Tensor is_short = wavelength < original / scaling.high_freq_factor;
  const at::Tensor blend = (original / wavelength - scaling.low_freq_factor) /
                           (scaling.high_freq_factor - scaling.low_freq_factor);
  const at::Tensor between = (1 - blend) * freqs / scaling.factor + blend * freqs;
  return at::where(is_long, freqs / scaling.factor, at::where(is_short, freqs, between));
}

}  // namespace

at::Tensor rope_frequencies(int64_t head_dim, double theta) {
  COEUS_CHECK(head_dim > 0 && head_dim % 2 == 0,
              "[rope_table] head_dim must be even and positive, got {}", head_dim);
  return 1.0 /
         at::pow(theta, at::arange(0, head_dim, 2).to(at::kFloat) / static_cast<double>(head_dim));
}

at::Tensor rope_table(const at::Tensor& frequencies, int64_t max_positions) {
  COEUS_CHECK(max_positions > 0, "[rope_table] max_positions must be positive, got {}",
              max_positions);
  const at::Tensor angles = at::outer(at::arange(max_positions).to(at::kFloat), frequencies);
  return at::stack({at::cos(angles), at::sin(angles)}, -1).contiguous();
}

at::Tensor rope_table(const RopeOptions& options) {
  const at::Tensor plain = rope_frequencies(options.head_dim, options.theta);
  return rope_table(options.scaling ? scaled(plain, *options.scaling) : plain,
                    options.max_positions);
}

}  // namespace coeus::nn
