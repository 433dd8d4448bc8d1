#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

namespace coeus::nn {

/// As many SwiGLU feed-forward layers as there are experts, each for its own run of rows.
/// w1, w3: [num_experts, hidden_dim, dim]; w2: [num_experts, dim, hidden_dim].
class GroupedExpertsImpl : public torch::nn::Module {
 public:
  GroupedExpertsImpl(int64_t dim, int64_t hidden_dim, int64_t num_experts, bool use_grouped_mm,
                     const at::TensorOptions& options);
  /// x: [rows, dim], sorted by expert; expert_ends: int32 [num_experts], one past each expert's
  /// last row. Returns [rows, dim], in autocast's dtype where that is on.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& expert_ends);

  at::Tensor w1;
  at::Tensor w2;
  at::Tensor w3;

 private:
  bool use_grouped_mm_;
};
TORCH_MODULE(GroupedExperts);

}  // namespace coeus::nn
