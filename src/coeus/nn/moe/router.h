#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include "coeus/nn/linear.h"
#include "coeus/nn/moe/moe_options.h"

namespace coeus::nn {

/// Where tokens go. Of `tokens` tokens, each to `top_k` different experts.
struct Routing {
  at::Tensor logits;    ///< the gate's output in float32 [tokens, num_experts]
  at::Tensor affinity;  ///< the score function of it, float32 [tokens, num_experts]
  at::Tensor experts;   ///< int64 [tokens, top_k], best first
  at::Tensor scores;    ///< float32 [tokens, top_k]: normed and scaled as configured
};

/// Sends each token to the experts of the highest scores (token-choice top-k routing).
class RouterImpl : public torch::nn::Module {
 public:
  /// Throws Error for sizes that do not fit each other.
  RouterImpl(int64_t dim, const MoEOptions& moe, const at::TensorOptions& options);
  /// x: [tokens, dim]; expert_bias: float32 [num_experts], added to the scores when experts are
  /// picked and left out of the scores themselves, or undefined.
  Routing forward(const at::Tensor& x, const at::Tensor& expert_bias);

  Linear gate{nullptr};

 private:
  at::Tensor pick_experts(const at::Tensor& affinity, const at::Tensor& expert_bias) const;

  MoEOptions moe_;
};
TORCH_MODULE(Router);

/// affinity, with -infinity for the experts of all but each token's best groups: see
/// MoEOptions::n_expert_groups. affinity: [tokens, num_experts].
at::Tensor limit_to_best_groups(const at::Tensor& affinity, int64_t groups, int64_t limited_groups,
                                int64_t group_top);

}  // namespace coeus::nn
