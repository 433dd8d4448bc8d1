#pragma once

#include <torch/nn/pimpl.h>

#include "coeus/nn/layer.h"

namespace coeus::nn {

/// A table of one vector a token. weight: [vocab_size, dim].
class EmbeddingImpl : public Layer {
 public:
  /// The weight is allocated, not initialised. Throws Error for a size below 1.
  EmbeddingImpl(int64_t vocab_size, int64_t dim, const at::TensorOptions& options);
  /// tokens: int64 [...]; returns [..., dim].
  at::Tensor forward(const at::Tensor& tokens);

  at::Tensor weight;
};
TORCH_MODULE(Embedding);

}  // namespace coeus::nn
