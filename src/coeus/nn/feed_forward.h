#pragma once

#include <torch/nn/pimpl.h>

#include <string>

#include "coeus/nn/layer.h"
#include "coeus/nn/linear.h"

namespace coeus::nn {

/// w2(silu(w1 x) * w3 x): the SwiGLU feed-forward layer (Shazeer, arXiv 2002.05202).
class FeedForwardImpl : public Layer {
 public:
  FeedForwardImpl(int64_t dim, int64_t hidden_dim, const at::TensorOptions& options);
  /// x: [..., dim], returned in the same shape.
  at::Tensor forward(const at::Tensor& x);
  /// TorchTitan's truncated normals: standard deviation 0.02 for w1, `out_std` for w2 and w3.
  /// `name` is the layer's in the model.
  void init_weights(uint64_t seed, const std::string& name, double out_std);

  Linear w1{nullptr};
  Linear w2{nullptr};
  Linear w3{nullptr};
};
TORCH_MODULE(FeedForward);

}  // namespace coeus::nn
