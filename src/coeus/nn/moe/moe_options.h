#pragma once

#include <cstdint>
#include <optional>

namespace coeus::nn {

/// How a router turns logits into scores.
enum class ScoreFunction { kSigmoid, kSoftmax };

/// What a model's flavour and a run fix of a mixture-of-experts layer. Defaults are TorchTitan's.
struct MoEOptions {
  int64_t num_experts = 8;
  /// Experts that see every token, as one feed-forward layer of as many times the hidden size.
  int64_t num_shared_experts = 1;

  ScoreFunction score_func = ScoreFunction::kSigmoid;
  /// Experts that each token is sent to.
  int64_t top_k = 1;
  /// Whether a token's scores are divided by their sum.
  bool route_norm = false;
  /// What scores are multiplied by, after route_norm.
  double route_scale = 1.0;
  /// Whether an expert's input is multiplied by the score, or its output.
  bool score_before_experts = true;

  /// Node-limited routing (DeepSeek-V3, arXiv 2412.19437, 2.1.2): experts stand in this many groups
  /// of equal size, and a token is sent to experts of its best `n_limited_groups` only. A group is
  /// as good as the sum of its best `group_top` scores. Off when all groups are allowed.
  int64_t n_expert_groups = 1;
  int64_t n_limited_groups = 1;
  int64_t group_top = 0;  ///< 0: top_k / n_limited_groups, at least 1

  /// Multiply by at::_grouped_mm where it serves; otherwise expert by expert.
  bool use_grouped_mm = true;

  /// How far an expert's routing bias moves in a step (load balancing without auxiliary loss, Wang
  /// et al., arXiv 2408.15664). Without it there is no bias.
  std::optional<double> load_balance_coeff = 1e-3;
  /// Weight of the sequence-wise balance loss (DeepSeek-V3, equations 17 to 20); 0: none.
  double sequence_balance_loss_coeff = 0;
  /// Weight of the router's z-loss (ST-MoE, arXiv 2202.08906, equation 5); 0: none.
  double z_loss_coeff = 0;

  /// Sends tokens to experts in turn, whatever the scores say: to measure speed.
  bool force_load_balance = false;
};

}  // namespace coeus::nn
