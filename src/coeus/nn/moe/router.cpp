#include "coeus/nn/moe/router.h"

#include <torch/types.h>

#include <algorithm>
#include <limits>

#include "coeus/base/error.h"

namespace coeus::nn {

namespace {

int64_t group_top(const MoEOptions& moe) {
  return moe.group_top > 0 ? moe.group_top : std::max<int64_t>(1, moe.top_k / moe.n_limited_groups);
}

void check(const MoEOptions& moe) {
  COEUS_CHECK(moe.num_experts > 0 && moe.top_k > 0 && moe.top_k <= moe.num_experts,
              "[Router] top_k must lie between 1 and the number of experts {}, got {}",
              moe.num_experts, moe.top_k);
  COEUS_CHECK(moe.n_expert_groups > 0 && moe.num_experts % moe.n_expert_groups == 0,
              "[Router] {} experts do not make {} groups of equal size", moe.num_experts,
              moe.n_expert_groups);
  COEUS_CHECK(moe.n_limited_groups > 0 && moe.n_limited_groups <= moe.n_expert_groups,
              "[Router] n_limited_groups must lie between 1 and n_expert_groups {}, got {}",
              moe.n_expert_groups, moe.n_limited_groups);
  const int64_t group_size = moe.num_experts / moe.n_expert_groups;
  COEUS_CHECK(group_top(moe) <= group_size,
              "[Router] a group of {} experts has no {} best scores to sum", group_size,
              group_top(moe));
  COEUS_CHECK(moe.top_k <= group_size * moe.n_limited_groups,
              "[Router] top_k {} is more than the {} experts of the {} groups a token may use",
              moe.top_k, group_size * moe.n_limited_groups, moe.n_limited_groups);
}

/// Tokens to experts in turn: every expert gets the same number.
at::Tensor experts_in_turn(int64_t tokens, const MoEOptions& moe, const at::Device& device) {
  return at::arange(tokens * moe.top_k, at::TensorOptions().dtype(at::kLong).device(device))
      .remainder(moe.num_experts)
      .view({tokens, moe.top_k});
}

}  // namespace

RouterImpl::RouterImpl(int64_t dim, const MoEOptions& moe, const at::TensorOptions& options)
    : moe_(moe) {
  check(moe);
  gate = register_module("gate", Linear(dim, moe.num_experts, options));
}

Routing RouterImpl::forward(const at::Tensor& x, const at::Tensor& expert_bias) {
  Routing routing;
  routing.logits = gate(x).to(at::kFloat);
  routing.affinity = moe_.score_func == ScoreFunction::kSigmoid ? at::sigmoid(routing.logits)
                                                                : at::softmax(routing.logits, 1);
  routing.experts = moe_.force_load_balance ? experts_in_turn(x.size(0), moe_, x.device())
                                            : pick_experts(routing.affinity, expert_bias);
  routing.scores = routing.affinity.gather(1, routing.experts);
  if (moe_.route_norm)
    routing.scores = routing.scores / (routing.scores.sum(-1, /*keepdim=*/true) + 1e-20);
  if (moe_.route_scale != 1.0) routing.scores = routing.scores * moe_.route_scale;
  return routing;
}

at::Tensor RouterImpl::pick_experts(const at::Tensor& affinity,
                                    const at::Tensor& expert_bias) const {
  at::NoGradGuard no_grad;
  at::Tensor ranking = expert_bias.defined() ? affinity + expert_bias : affinity;
  if (moe_.n_limited_groups < moe_.n_expert_groups)
    ranking =
        limit_to_best_groups(ranking, moe_.n_expert_groups, moe_.n_limited_groups, group_top(moe_));
  return std::get<1>(at::topk(ranking, moe_.top_k, 1));
}

at::Tensor limit_to_best_groups(const at::Tensor& affinity, int64_t groups, int64_t limited_groups,
                                int64_t group_top) {
  const at::Tensor grouped = affinity.unflatten(1, {groups, -1});
  const at::Tensor group_score = std::get<0>(grouped.topk(group_top, -1)).sum(-1);
  const at::Tensor best = std::get<1>(group_score.topk(limited_groups, -1));
  const at::Tensor closed = at::ones_like(group_score, at::kBool).scatter(1, best, false);
  return grouped.masked_fill(closed.unsqueeze(-1), -std::numeric_limits<double>::infinity())
      .flatten(1);
}

}  // namespace coeus::nn
