#include "coeus/nn/linear.h"

#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/nn/parameter.h"
#include "coeus/ops/linear.h"
#include "coeus/ops/linear_cross_entropy.h"

namespace coeus::nn {

LinearImpl::LinearImpl(int64_t in_features, int64_t out_features, const at::TensorOptions& options,
                       bool bias) {
  COEUS_CHECK(in_features > 0 && out_features > 0, "[Linear] sizes must be positive, got {} and {}",
              in_features, out_features);
  weight = register_parameter("weight", new_parameter({out_features, in_features}, options));
  if (bias) this->bias = register_parameter("bias", new_parameter({out_features}, options));
}

at::Tensor LinearImpl::forward(const at::Tensor& x) {
  const at::Tensor product = coeus::linear(entered(x), weight);
  // Under autocast the product is narrower than the bias.
  return left(bias.defined() ? product + bias.to(product.scalar_type()) : product);
}

at::Tensor LinearImpl::cross_entropy_sum(const at::Tensor& x, const at::Tensor& labels,
                                         int64_t chunk_size, const CrossEntropy& cross_entropy) {
  COEUS_CHECK(!bias.defined(), "[Linear::cross_entropy_sum] not for a layer with a bias");
  return left(linear_cross_entropy_sum(entered(x), weight, labels, chunk_size, cross_entropy));
}

at::Tensor TiedLinearImpl::forward(const at::Tensor& x) {
  return left(coeus::linear(entered(x), weight_));
}

at::Tensor TiedLinearImpl::cross_entropy_sum(const at::Tensor& x, const at::Tensor& labels,
                                             int64_t chunk_size,
                                             const CrossEntropy& cross_entropy) {
  return left(linear_cross_entropy_sum(entered(x), weight_, labels, chunk_size, cross_entropy));
}

}  // namespace coeus::nn
