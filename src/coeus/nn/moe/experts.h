#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <functional>

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

  /// Puts `dispatch` between callers and this layer: it is given what forward was, with the rows of
  /// all experts, and forward as it is without it, for the experts whose weights are here.
  using Compute = std::function<at::Tensor(const at::Tensor& x, const at::Tensor& expert_ends)>;
  using Dispatch = std::function<at::Tensor(const at::Tensor& x, const at::Tensor& expert_ends,
                                            const Compute& compute)>;
  void set_dispatch(Dispatch dispatch) { dispatch_ = std::move(dispatch); }

  at::Tensor w1;
  at::Tensor w2;
  at::Tensor w3;

 private:
  at::Tensor computed(const at::Tensor& x, const at::Tensor& expert_ends) const;

  bool use_grouped_mm_;
  Dispatch dispatch_;
};
TORCH_MODULE(GroupedExperts);

}  // namespace coeus::nn
