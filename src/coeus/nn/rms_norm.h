#pragma once

#include <torch/nn/pimpl.h>

#include <utility>

#include "coeus/nn/layer.h"

namespace coeus::nn {

/// x / sqrt(mean(x^2) + eps) * weight over the last dimension (see ops/rms_norm.h). weight: [dim].
class RMSNormImpl : public Layer {
 public:
  RMSNormImpl(int64_t dim, double eps, const at::TensorOptions& options);
  /// x: [..., dim], returned in the same shape and dtype.
  at::Tensor forward(const at::Tensor& x);
  /// x + y and forward of that, in one pass over memory where a device can (ops/rms_norm.h). x and
  /// y: [..., dim]; a block's residual stream and what is added to it.
  std::pair<at::Tensor, at::Tensor> add_norm(const at::Tensor& x, const at::Tensor& y);

  at::Tensor weight;

 private:
  double eps_;
};
TORCH_MODULE(RMSNorm);

}  // namespace coeus::nn
