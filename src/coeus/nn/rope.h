// The angles of rotary position embedding.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace coeus::nn {

/// Llama 3.1's stretching of low frequencies to contexts longer than the one trained on.
struct RopeScaling {
  double factor = 8.0;            ///< how far long wavelengths stretch
  double low_freq_factor = 1.0;   ///< wavelengths above original / this are stretched whole
  double high_freq_factor = 4.0;  ///< wavelengths below original / this are left alone
  int64_t original_max_position = 8192;
};

/// What rope_table makes.
struct RopeOptions {
  int64_t head_dim = 0;
  int64_t max_positions = 0;
  double theta = 10000.0;
  std::optional<RopeScaling> scaling = RopeScaling{};  ///< none: every frequency as it is
};

/// float32 [head_dim / 2]: theta^(-2i / head_dim), the angle that pair i turns a position. Throws
/// Error for an odd head_dim.
at::Tensor rope_frequencies(int64_t head_dim, double theta);

/// float32 [max_positions, pairs, 2] of (cos, sin) of position * frequencies [pairs]. Throws Error
/// for less than 1 position.
at::Tensor rope_table(const at::Tensor& frequencies, int64_t max_positions);

/// float32 [max_positions, head_dim / 2, 2] of (cos, sin) for ops' `rope`: one table for all
/// layers, indexed by each token's position. Angles are rounded to float32 as TorchTitan rounds
/// them. Throws Error for an odd head_dim or sizes below 1.
at::Tensor rope_table(const RopeOptions& options);

}  // namespace coeus::nn
