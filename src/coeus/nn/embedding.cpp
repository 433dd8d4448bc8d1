#include "coeus/nn/embedding.h"

#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/nn/parameter.h"

namespace coeus::nn {

EmbeddingImpl::EmbeddingImpl(int64_t vocab_size, int64_t dim, const at::TensorOptions& options) {
  COEUS_CHECK(vocab_size > 0 && dim > 0, "[Embedding] sizes must be positive, got {} and {}",
              vocab_size, dim);
  weight = register_parameter("weight", new_parameter({vocab_size, dim}, options));
}

at::Tensor EmbeddingImpl::forward(const at::Tensor& tokens) {
  return left(at::embedding(weight, entered(tokens)));
}

}  // namespace coeus::nn
