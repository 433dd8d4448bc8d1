// A mixture-of-experts layer: router, order, experts, shared experts, load balance.
#pragma once

#include <torch/nn/pimpl.h>

#include <functional>
#include <string>

#include "coeus/nn/feed_forward.h"
#include "coeus/nn/layer.h"
#include "coeus/nn/moe/experts.h"
#include "coeus/nn/moe/moe_options.h"
#include "coeus/nn/moe/router.h"

namespace coeus::nn {

/// Sums a tensor in place over some ranks, which all call it; empty for a single process.
using SumOverRanks = std::function<void(at::Tensor&)>;

/// What the trainer may ask of a layer after a step, over all of its forward passes.
struct MoEUsage {
  at::Tensor tokens_per_expert;      ///< int64 [num_experts]
  at::Tensor sequence_balance_loss;  ///< float32 [], this rank's part of the step's mean
  at::Tensor z_loss;                 ///< the same
};

/// Each token to its experts, and to the shared ones (DeepSeekMoE, arXiv 2401.06066). Parameters
/// have TorchTitan's names: experts.w1, router.gate.weight, shared_experts.w1.weight; expert_bias
/// is a buffer. On a GPU nothing is read back to the host.
class MoEImpl : public Layer {
 public:
  /// hidden_dim: of one expert. Throws Error for sizes that do not fit each other.
  MoEImpl(int64_t dim, int64_t hidden_dim, const MoEOptions& moe, const at::TensorOptions& options);
  /// x: [batch, seq, dim]; returns the same shape and dtype. A training pass counts its tokens,
  /// once also when backward recomputes it; inference counts nothing.
  at::Tensor forward(const at::Tensor& x);

  /// `name` is the layer's in the model ("layers.1.moe"); w1 of every expert is drawn with a
  /// standard deviation of 0.02, the others and the gate with `std`; expert_bias becomes zero.
  void init_weights(uint64_t seed, const std::string& name, double std);

  /// How many rows the step's batch has, in all forward passes and on all ranks: auxiliary losses
  /// are means over them. Without it, means over the rows of each forward pass.
  void set_step_rows(int64_t rows) { step_rows_ = rows; }
  /// How rows lie over the ranks whose gradients are summed, for auxiliary losses.
  /// `sum_over_shares`: over the ranks that have the other tokens of the same rows, in the same
  /// order; empty where rows are whole. `copies`: ranks that compute the same for the same tokens.
  void set_row_shares(SumOverRanks sum_over_shares, int64_t copies) {
    sum_over_shares_ = std::move(sum_over_shares);
    copies_ = copies;
  }

  const MoEOptions& options() const { return moe_; }
  /// Since the last reset_usage().
  MoEUsage& usage() { return usage_; }
  void reset_usage();

  Router router{nullptr};
  GroupedExperts experts{nullptr};
  FeedForward shared_experts{nullptr};  ///< null without shared experts
  at::Tensor expert_bias;               ///< float32 [num_experts]; undefined without balancing

 private:
  at::Tensor with_losses(const at::Tensor& out, const Routing& routing, int64_t rows);

  MoEOptions moe_;
  int64_t step_rows_ = 0;  ///< 0: those of each forward pass
  SumOverRanks sum_over_shares_;
  int64_t copies_ = 1;
  MoEUsage usage_;
};
TORCH_MODULE(MoE);

}  // namespace coeus::nn
