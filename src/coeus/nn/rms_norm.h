#pragma once

#include <torch/nn/pimpl.h>

#include "coeus/nn/layer.h"

namespace coeus::nn {

/// x / sqrt(mean(x^2) + eps) * weight over the last dimension (see ops/rms_norm.h). weight: [dim].
class RMSNormImpl : public Layer {
 public:
  RMSNormImpl(int64_t dim, double eps, const at::TensorOptions& options);
  /// x: [..., dim], returned in the same shape and dtype.
  at::Tensor forward(const at::Tensor& x);

  at::Tensor weight;

 private:
  double eps_;
};
TORCH_MODULE(RMSNorm);

}  // namespace coeus::nn
