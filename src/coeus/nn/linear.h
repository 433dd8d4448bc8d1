#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

namespace coeus::nn {

/// y = x W^T, plus a bias if asked for, as vision encoders want it. weight: [out_features,
/// in_features]; bias: [out_features].
class LinearImpl : public torch::nn::Module {
 public:
  /// Weight and bias are allocated, not initialised. Throws Error for a size below 1.
  LinearImpl(int64_t in_features, int64_t out_features, const at::TensorOptions& options,
             bool bias = false);
  /// x: [..., in_features]; returns [..., out_features].
  at::Tensor forward(const at::Tensor& x);

  at::Tensor weight;
  at::Tensor bias;  ///< undefined without one
};
TORCH_MODULE(Linear);

}  // namespace coeus::nn
