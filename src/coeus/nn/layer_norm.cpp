#include "coeus/nn/layer_norm.h"

#include <torch/types.h>

#include "coeus/nn/init.h"
#include "coeus/nn/parameter.h"

namespace coeus::nn {

LayerNormImpl::LayerNormImpl(int64_t dim, double eps, const at::TensorOptions& options)
    : eps_(eps) {
  weight = register_parameter("weight", new_parameter({dim}, options));
  bias = register_parameter("bias", new_parameter({dim}, options));
}

at::Tensor LayerNormImpl::forward(const at::Tensor& x) {
  return left(at::layer_norm(entered(x), {weight.size(0)}, weight, bias, eps_));
}

void LayerNormImpl::init_weights() {
  init_ones(weight);
  init_zeros(bias);
}

}  // namespace coeus::nn
