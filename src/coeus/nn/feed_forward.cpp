#include "coeus/nn/feed_forward.h"

#include <torch/types.h>

#include "coeus/nn/init.h"
#include "coeus/ops/swiglu.h"

namespace coeus::nn {

FeedForwardImpl::FeedForwardImpl(int64_t dim, int64_t hidden_dim,
                                 const at::TensorOptions& options) {
  w1 = register_module("w1", Linear(dim, hidden_dim, options));
  w2 = register_module("w2", Linear(hidden_dim, dim, options));
  w3 = register_module("w3", Linear(dim, hidden_dim, options));
}

at::Tensor FeedForwardImpl::forward(const at::Tensor& input) {
  const at::Tensor x = entered(input);
  return left(w2(swiglu(w1(x), w3(x))));
}

void FeedForwardImpl::init_weights(uint64_t seed, const std::string& name, double out_std) {
  init_truncated_normal(w1->weight, seed, name + ".w1.weight", 0.02);
  init_truncated_normal(w2->weight, seed, name + ".w2.weight", out_std);
  init_truncated_normal(w3->weight, seed, name + ".w3.weight", out_std);
}

}  // namespace coeus::nn
