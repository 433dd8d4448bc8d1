#include "coeus/nn/rms_norm.h"

#include <torch/types.h>

#include "coeus/nn/parameter.h"
#include "coeus/ops/rms_norm.h"

namespace coeus::nn {

RMSNormImpl::RMSNormImpl(int64_t dim, double eps, const at::TensorOptions& options) : eps_(eps) {
  weight = register_parameter("weight", new_parameter({dim}, options));
}

at::Tensor RMSNormImpl::forward(const at::Tensor& x) {
  return left(rms_norm(entered(x), weight, eps_));
}

std::pair<at::Tensor, at::Tensor> RMSNormImpl::add_norm(const at::Tensor& x, const at::Tensor& y) {
  if (has_input_hooks()) {
    const at::Tensor sum = x + y;
    return {sum, forward(sum)};
  }
  const auto [sum, normed] = add_rms_norm(x, y, weight, eps_);
  return {sum, left(normed)};
}

}  // namespace coeus::nn
