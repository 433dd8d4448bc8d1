#pragma once

#include <torch/nn/pimpl.h>

#include "coeus/nn/layer.h"

namespace coeus::nn {

/// (x - mean) / sqrt(variance + eps) * weight + bias over the last dimension (Ba et al., arXiv
/// 1607.06450). weight and bias: [dim].
class LayerNormImpl : public Layer {
 public:
  /// Weight and bias are allocated, not initialised.
  LayerNormImpl(int64_t dim, double eps, const at::TensorOptions& options);
  /// x: [..., dim], returned in the same shape.
  at::Tensor forward(const at::Tensor& x);
  /// Ones and zeros.
  void init_weights();

  at::Tensor weight;
  at::Tensor bias;

 private:
  double eps_;
};
TORCH_MODULE(LayerNorm);

}  // namespace coeus::nn
