// YaRN: how rotary frequencies stretch to contexts longer than the one trained on.
#pragma once

#include <ATen/core/Tensor.h>

namespace coeus::nn {

/// Peng et al., arXiv 2309.00071. A pair that turns more than beta_fast times in the original
/// context keeps its frequency, one that turns less than beta_slow times is slowed by `factor`, and
/// a ramp joins them.
struct Yarn {
  double factor = 40;
  double beta_fast = 32;
  double beta_slow = 1;
  int64_t original_max_position = 4096;
  bool operator==(const Yarn&) const = default;
};

/// Frequencies as rope_frequencies gives them, stretched: float32 [head_dim / 2].
at::Tensor yarn_frequencies(const at::Tensor& frequencies, double theta, const Yarn& yarn);

/// What the temperature of attention asks of a model stretched by `factor`: 0.1 mscale ln(factor) +
/// 1, and 1 where nothing is stretched. Scores are multiplied by its square.
double yarn_mscale(double factor, double mscale);

}  // namespace coeus::nn
