#pragma once

#include <torch/nn/pimpl.h>

#include "coeus/nn/layer.h"
#include "coeus/ops/cross_entropy.h"

namespace coeus::nn {

/// y = x W^T, plus a bias if asked for, as vision encoders want it. weight: [out_features,
/// in_features]; bias: [out_features].
class LinearImpl : public Layer {
 public:
  /// Weight and bias are allocated, not initialised. Throws Error for a size below 1.
  LinearImpl(int64_t in_features, int64_t out_features, const at::TensorOptions& options,
             bool bias = false);
  /// x: [..., in_features]; returns [..., out_features].
  at::Tensor forward(const at::Tensor& x);

  /// The loss of what forward would return, which is never there as a whole: see
  /// linear_cross_entropy_sum. Hooks run as around forward, on x and on the loss. Throws Error for
  /// a layer with a bias.
  at::Tensor cross_entropy_sum(const at::Tensor& x, const at::Tensor& labels, int64_t chunk_size,
                               const CrossEntropy& cross_entropy);

  at::Tensor weight;
  at::Tensor bias;  ///< undefined without one
};
TORCH_MODULE(Linear);

/// The same by a weight of another layer, which it shares and does not list among its parameters.
class TiedLinearImpl : public Layer {
 public:
  /// weight: [out_features, in_features].
  explicit TiedLinearImpl(at::Tensor weight) : weight_(std::move(weight)) {}
  at::Tensor forward(const at::Tensor& x);
  /// As Linear's.
  at::Tensor cross_entropy_sum(const at::Tensor& x, const at::Tensor& labels, int64_t chunk_size,
                               const CrossEntropy& cross_entropy);

 private:
  at::Tensor weight_;
};
TORCH_MODULE(TiedLinear);

}  // namespace coeus::nn
