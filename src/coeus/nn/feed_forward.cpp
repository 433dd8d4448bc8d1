#include "coeus/nn/feed_forward.h"

#include <torch/torch.h>

#include "coeus/ops/swiglu.h"

namespace coeus::nn {

FeedForwardImpl::FeedForwardImpl(int64_t dim, int64_t hidden_dim,
                                 const at::TensorOptions& options) {
  w1 = register_module("w1", Linear(dim, hidden_dim, options));
  w2 = register_module("w2", Linear(hidden_dim, dim, options));
  w3 = register_module("w3", Linear(dim, hidden_dim, options));
}

at::Tensor FeedForwardImpl::forward(const at::Tensor& x) { return w2(swiglu(w1(x), w3(x))); }

}  // namespace coeus::nn
