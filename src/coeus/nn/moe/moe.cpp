#include "coeus/nn/moe/moe.h"

#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/nn/init.h"
#include "coeus/nn/moe/auxiliary_loss.h"
#include "coeus/nn/moe/token_order.h"
#include "coeus/nn/recompute.h"

namespace coeus::nn {

namespace {

/// Each row times its score, in float32 and back.
at::Tensor scored(const at::Tensor& x, const at::Tensor& scores) {
  return (x.to(at::kFloat) * scores.unsqueeze(-1)).to(x.scalar_type());
}

}  // namespace

MoEImpl::MoEImpl(int64_t dim, int64_t hidden_dim, const MoEOptions& moe,
                 const at::TensorOptions& options)
    : moe_(moe) {
  COEUS_CHECK(moe.num_shared_experts >= 0, "[MoE] num_shared_experts must not be negative, got {}",
              moe.num_shared_experts);
  COEUS_CHECK(!moe.load_balance_coeff || *moe.load_balance_coeff > 0,
              "[MoE] load_balance_coeff must be positive or absent, got {}",
              moe.load_balance_coeff.value_or(0));
  experts = register_module(
      "experts", GroupedExperts(dim, hidden_dim, moe.num_experts, moe.use_grouped_mm, options));
  router = register_module("router", Router(dim, moe, options));
  if (moe.num_shared_experts > 0)
    shared_experts = register_module(
        "shared_experts", FeedForward(dim, hidden_dim * moe.num_shared_experts, options));
  if (moe.load_balance_coeff)
    expert_bias =
        register_buffer("expert_bias", at::zeros({moe.num_experts}, options.dtype(at::kFloat)));
  reset_usage();
}

at::Tensor MoEImpl::forward(const at::Tensor& hidden) {
  const at::Tensor input = entered(hidden);
  const at::Tensor x = input.reshape({-1, input.size(-1)});
  const Routing routing = router(x, expert_bias);
  const TokenOrder order = order_by_expert(routing.experts, moe_.num_experts);
  if (forward_pass() == ForwardPass::kTraining)
    usage_.tokens_per_expert.add_(tokens_per_expert(order));

  const at::Tensor scores =
      to_expert_order(routing.scores.view({-1, 1}), {1, order.pairs, order.places, {}}).flatten();
  at::Tensor routed = to_expert_order(x, order);
  if (moe_.score_before_experts) routed = scored(routed, scores);
  routed = experts(routed, order.expert_ends);
  if (!moe_.score_before_experts) routed = scored(routed, scores);
  at::Tensor out = from_expert_order(routed, order);
  if (shared_experts) out = shared_experts(x) + out;
  return left(with_losses(out.to(input.scalar_type()), routing, input.size(0)).view(input.sizes()));
}

at::Tensor MoEImpl::with_losses(const at::Tensor& out, const Routing& routing, int64_t rows) {
  const ForwardPass pass = forward_pass();
  if (pass == ForwardPass::kInference) return out;
  at::Tensor result = out;
  const double of_step = step_rows_ == 0 ? 1.0 : static_cast<double>(rows) / step_rows_;
  const auto add = [&](double coefficient, const at::Tensor& mean, at::Tensor& seen) {
    const at::Tensor loss = mean * (of_step / static_cast<double>(copies_));
    if (pass == ForwardPass::kTraining) seen.add_(loss.detach());
    result = with_auxiliary_loss(result, loss * coefficient);
  };
  if (moe_.sequence_balance_loss_coeff != 0)
    add(moe_.sequence_balance_loss_coeff,
        sequence_balance_loss(routing.affinity, routing.experts, rows, sum_over_shares_),
        usage_.sequence_balance_loss);
  if (moe_.z_loss_coeff != 0)
    add(moe_.z_loss_coeff, router_z_loss(routing.logits, sum_over_shares_), usage_.z_loss);
  return result;
}

void MoEImpl::reset_usage() {
  const at::Device device = experts->w1.device();
  usage_.tokens_per_expert =
      at::zeros({moe_.num_experts}, at::TensorOptions().dtype(at::kLong).device(device));
  usage_.sequence_balance_loss = at::zeros({}, at::TensorOptions().device(device));
  usage_.z_loss = at::zeros({}, at::TensorOptions().device(device));
}

void MoEImpl::init_weights(uint64_t seed, const std::string& name, double std) {
  init_truncated_normal(experts->w1, seed, name + ".experts.w1", 0.02);
  init_truncated_normal(experts->w2, seed, name + ".experts.w2", std);
  init_truncated_normal(experts->w3, seed, name + ".experts.w3", std);
  init_truncated_normal(router->gate->weight, seed, name + ".router.gate.weight", std);
  if (shared_experts) shared_experts->init_weights(seed, name + ".shared_experts", std);
  if (expert_bias.defined()) expert_bias.zero_();
}

}  // namespace coeus::nn
