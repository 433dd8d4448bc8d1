#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

namespace coeus::nn {

/// y = x W^T without a bias, as all of these models want it. weight: [out_features, in_features].
class LinearImpl : public torch::nn::Module {
 public:
  /// The weight is allocated, not initialised. Throws Error for a size below 1.
  LinearImpl(int64_t in_features, int64_t out_features, const at::TensorOptions& options);
  /// x: [..., in_features]; returns [..., out_features].
  at::Tensor forward(const at::Tensor& x);

  at::Tensor weight;
};
TORCH_MODULE(Linear);

}  // namespace coeus::nn
