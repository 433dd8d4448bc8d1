#include "coeus/models/vlm/projector.h"

#include <torch/types.h>

#include <cmath>

#include "coeus/nn/init.h"

namespace coeus::vlm {

namespace {

/// `fans`: in and out, of the whole layer; this rank may hold a slice of its weight.
void init_linear(nn::Linear& linear, int64_t fans, uint64_t seed, const std::string& name) {
  nn::init_uniform(linear->weight, seed, name + ".weight",
                   std::sqrt(6.0 / static_cast<double>(fans)));
  nn::init_zeros(linear->bias);
}

}  // namespace

Projector::Projector(int64_t in_dim, int64_t out_dim, const at::TensorOptions& options)
    : in_dim_(in_dim), out_dim_(out_dim) {
  w1_ = register_module("w1", nn::Linear(in_dim, in_dim, options, /*bias=*/true));
  w2_ = register_module("w2", nn::Linear(in_dim, out_dim, options, /*bias=*/true));
}

at::Tensor Projector::forward(const at::Tensor& x) { return w2_(at::silu(w1_(x))); }

void Projector::init_weights(uint64_t seed, const std::string& prefix) {
  init_linear(w1_, in_dim_ + in_dim_, seed, prefix + ".w1");
  init_linear(w2_, in_dim_ + out_dim_, seed, prefix + ".w2");
}

}  // namespace coeus::vlm
