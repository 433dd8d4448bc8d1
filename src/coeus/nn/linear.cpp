#include "coeus/nn/linear.h"

#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/ops/linear.h"

namespace coeus::nn {

LinearImpl::LinearImpl(int64_t in_features, int64_t out_features,
                       const at::TensorOptions& options) {
  COEUS_CHECK(in_features > 0 && out_features > 0, "[Linear] sizes must be positive, got {} and {}",
              in_features, out_features);
  weight = register_parameter("weight", at::empty({out_features, in_features}, options));
}

at::Tensor LinearImpl::forward(const at::Tensor& x) { return coeus::linear(x, weight); }

}  // namespace coeus::nn
