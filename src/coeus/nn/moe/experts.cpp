#include "coeus/nn/moe/experts.h"

#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/nn/parameter.h"
#include "coeus/ops/grouped_linear.h"
#include "coeus/ops/swiglu.h"

namespace coeus::nn {

GroupedExpertsImpl::GroupedExpertsImpl(int64_t dim, int64_t hidden_dim, int64_t num_experts,
                                       bool use_grouped_mm, const at::TensorOptions& options)
    : use_grouped_mm_(use_grouped_mm) {
  COEUS_CHECK(dim > 0 && hidden_dim > 0 && num_experts > 0,
              "[GroupedExperts] sizes must be positive, got dim {}, hidden_dim {}, num_experts {}",
              dim, hidden_dim, num_experts);
  w1 = register_parameter("w1", new_parameter({num_experts, hidden_dim, dim}, options));
  w2 = register_parameter("w2", new_parameter({num_experts, dim, hidden_dim}, options));
  w3 = register_parameter("w3", new_parameter({num_experts, hidden_dim, dim}, options));
}

at::Tensor GroupedExpertsImpl::forward(const at::Tensor& x, const at::Tensor& expert_ends) {
  if (!dispatch_) return computed(x, expert_ends);
  return dispatch_(x, expert_ends, [this](const at::Tensor& rows, const at::Tensor& ends) {
    return computed(rows, ends);
  });
}

at::Tensor GroupedExpertsImpl::computed(const at::Tensor& x, const at::Tensor& expert_ends) const {
  const auto project = [&](const at::Tensor& input, const at::Tensor& weight) {
    return grouped_linear(input, weight, expert_ends, use_grouped_mm_);
  };
  return project(swiglu(project(x, w1), project(x, w3)), w2);
}

}  // namespace coeus::nn
