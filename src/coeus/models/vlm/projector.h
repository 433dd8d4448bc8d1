#pragma once

#include <torch/nn/module.h>

#include <string>

#include "coeus/nn/linear.h"

namespace coeus::vlm {

/// w2(silu(w1 x)), with biases: from the encoder's vectors to the decoder's.
class Projector : public torch::nn::Module {
 public:
  Projector(int64_t in_dim, int64_t out_dim, const at::TensorOptions& options);
  /// x: [..., in_dim]; returns [..., out_dim].
  at::Tensor forward(const at::Tensor& x);
  /// TorchTitan's: Xavier's uniform weights (Glorot and Bengio, 2010), biases 0. `prefix` is the
  /// layer's name in the model.
  void init_weights(uint64_t seed, const std::string& prefix);

 private:
  int64_t in_dim_;
  int64_t out_dim_;
  nn::Linear w1_{nullptr};
  nn::Linear w2_{nullptr};
};

}  // namespace coeus::vlm
