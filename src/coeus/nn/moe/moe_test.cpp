#include "coeus/nn/moe/moe.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>

#include "coeus/base/error.h"
#include "coeus/nn/autocast.h"
#include "coeus/nn/moe/auxiliary_loss.h"
#include "coeus/nn/recompute.h"

namespace coeus::nn {
namespace {

constexpr int64_t kDim = 8;
constexpr int64_t kHidden = 12;

MoE layer_of(const MoEOptions& options) {
  MoE layer(kDim, kHidden, options, at::TensorOptions());
  layer->init_weights(7, "moe", 0.5);
  at::NoGradGuard no_grad;
  for (at::Tensor& parameter : layer->parameters()) parameter.mul_(10);
  return layer;
}

at::Tensor feed_forward(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                        const at::Tensor& w3) {
  return at::linear(at::silu(at::linear(x, w1)) * at::linear(x, w3), w2);
}

/// Token by token, choice by choice.
at::Tensor plain_moe(MoEImpl& layer, const at::Tensor& input) {
  const at::Tensor x = input.view({-1, kDim});
  const Routing routing = layer.router(x, layer.expert_bias);
  std::vector<at::Tensor> rows;
  for (int64_t t = 0; t < x.size(0); ++t) {
    at::Tensor row = layer.shared_experts ? layer.shared_experts(x[t]) : at::zeros({kDim});
    for (int64_t k = 0; k < layer.options().top_k; ++k) {
      const int64_t e = routing.experts[t][k].item<int64_t>();
      const at::Tensor score = routing.scores[t][k];
      const auto expert = [&](const at::Tensor& token) {
        return feed_forward(token, layer.experts->w1[e], layer.experts->w2[e],
                            layer.experts->w3[e]);
      };
      row = row +
            (layer.options().score_before_experts ? expert(x[t] * score) : expert(x[t]) * score);
    }
    rows.push_back(row);
  }
  return at::stack(rows).view(input.sizes());
}

/// The output, then the gradients of input and parameters, of a weighted sum of f(x).
template <class F>
std::vector<at::Tensor> run(MoE& layer, const at::Tensor& input, F f) {
  layer->zero_grad();
  at::Tensor x = input.clone().requires_grad_();
  const at::Tensor out = f(x);
  (out * at::linspace(-1, 1, out.numel()).view(out.sizes())).sum().backward();
  std::vector<at::Tensor> results = {out.detach(), x.grad()};
  for (const at::Tensor& parameter : layer->parameters())
    results.push_back(parameter.grad().clone());
  return results;
}

TEST(MoE, IsEachTokensExpertsByScoreAndTheSharedOnes) {
  torch::manual_seed(1);
  for (const MoEOptions& options : std::vector<MoEOptions>{
           {},
           {.num_experts = 5, .top_k = 3, .score_before_experts = false},
           {.num_experts = 6,
           .num_shared_experts = 2,
           .score_func = ScoreFunction::kSoftmax,
           .top_k = 2,
           .route_norm = true,
           .route_scale = 2.5,
           .score_before_experts = false},
           {.num_experts = 3, .num_shared_experts = 0, .load_balance_coeff = std::nullopt},
           {.num_experts = 8, .top_k = 2, .n_expert_groups = 4, .n_limited_groups = 2}}) {
    MoE layer = layer_of(options);
    const at::Tensor input = at::randn({2, 9, kDim});
    const auto got = run(layer, input, [&](const at::Tensor& x) { return layer(x); });
    const auto want = run(layer, input, [&](const at::Tensor& x) { return plain_moe(*layer, x); });
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i)
      // Sums of terms far larger than themselves: rounding is a share of the largest.
      EXPECT_LE((got[i] - want[i]).abs().max().item<double>(),
                5e-6 * std::max(1.0, want[i].abs().max().item<double>()))
          << i;
  }
}

TEST(MoE, ParametersHaveTorchTitansNames) {
  MoE layer = layer_of({});
  std::vector<std::string> names;
  for (const auto& item : layer->named_parameters()) names.push_back(item.key());
  EXPECT_EQ(names,
            (std::vector<std::string>{"experts.w1", "experts.w2", "experts.w3",
                                      "router.gate.weight", "shared_experts.w1.weight",
                                      "shared_experts.w2.weight", "shared_experts.w3.weight"}));
  ASSERT_EQ(layer->named_buffers().size(), 1U);
  EXPECT_EQ(layer->named_buffers()[0].key(), "expert_bias");
}

TEST(MoE, ATokenIsCountedOnceAlsoWhenRecomputedAndNeverInInference) {
  MoE layer = layer_of({.num_experts = 4, .top_k = 2});
  const at::Tensor input = at::randn({3, 5, kDim});
  const auto counted = [&] { return layer->usage().tokens_per_expert.sum().item<int64_t>(); };
  {
    at::NoGradGuard no_grad;
    layer(input);
    EXPECT_EQ(counted(), 0);
  }
  const auto kept = run(layer, input, [&](const at::Tensor& x) { return layer(x); });
  EXPECT_EQ(counted(), 30);
  const at::Tensor of_each = layer->usage().tokens_per_expert.clone();
  const auto again = run(layer, input, [&](const at::Tensor& x) {
    return recompute([&](const at::Tensor& h) { return layer(h); }, x);
  });
  EXPECT_TRUE(at::equal(layer->usage().tokens_per_expert, 2 * of_each));
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_TRUE(at::equal(kept[i], again[i])) << i;
  layer->reset_usage();
  EXPECT_EQ(counted(), 0);
}

TEST(MoE, AuxiliaryLossesAddTheirGradientAndAreCountedOnce) {
  const at::Tensor input = at::randn({2, 6, kDim});
  MoE plain = layer_of({.num_experts = 4, .top_k = 2});
  MoE with_losses = layer_of(
      {.num_experts = 4, .top_k = 2, .sequence_balance_loss_coeff = 0.3, .z_loss_coeff = 0.02});
  with_losses->set_step_rows(4);
  const auto kept = run(with_losses, input, [&](const at::Tensor& x) { return with_losses(x); });
  const at::Tensor z = with_losses->usage().z_loss.clone();
  const auto want = run(plain, input, [&](const at::Tensor& x) {
    const Routing routing = plain->router(x.view({-1, kDim}), at::Tensor());
    const at::Tensor loss =
        0.5 * (0.3 * sequence_balance_loss(routing.affinity, routing.experts, 2) +
               0.02 * router_z_loss(routing.logits));
    loss.backward();
    return plain(x);
  });
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_TRUE(at::allclose(kept[i], want[i], 1e-4, 1e-5)) << i;
  const auto again = run(with_losses, input, [&](const at::Tensor& x) {
    return recompute([&](const at::Tensor& h) { return with_losses(h); }, x);
  });
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_TRUE(at::equal(kept[i], again[i])) << i;
  EXPECT_TRUE(at::equal(with_losses->usage().z_loss, 2 * z));
}

TEST(SequenceBalanceLoss, IsTheSumOverExpertsOfLoadTimesMeanShare) {
  const at::Tensor affinity = at::rand({6, 4}) + 0.1;
  const at::Tensor experts = std::get<1>(affinity.topk(2, 1));
  double want = 0;
  for (int64_t row = 0; row < 2; ++row)
    for (int64_t e = 0; e < 4; ++e) {
      double chosen = 0, share = 0;
      for (int64_t t = 3 * row; t < 3 * row + 3; ++t) {
        for (int64_t k = 0; k < 2; ++k) chosen += experts[t][k].item<int64_t>() == e;
        share += affinity[t][e].item<double>() / affinity[t].sum().item<double>();
      }
      want += (4.0 / (2 * 3) * chosen) * (share / 3) / 2;
    }
  EXPECT_NEAR(sequence_balance_loss(affinity, experts, 2).item<double>(), want, 1e-6);
}

TEST(MoE, UnderAutocastExpertsMultiplyInBfloat16AndTheOutputKeepsItsDtype) {
  // at::_grouped_mm wants rows of whole 16 bytes: 8 and 16 values of bfloat16.
  const auto output = [](bool grouped) {
    const MoEOptions options = {.num_experts = 4, .top_k = 2, .use_grouped_mm = grouped};
    MoE layer(8, 16, options, at::TensorOptions());
    layer->init_weights(7, "moe", 0.5);
    torch::manual_seed(2);
    const at::Tensor x = at::randn({2, 9, 8}).requires_grad_();
    at::Tensor out;
    {
      const Autocast autocast(at::kBFloat16);
      out = layer(x);
    }
    out.sum().backward();
    EXPECT_TRUE(layer->experts->w2.grad().defined());
    EXPECT_EQ(layer->experts->w2.grad().scalar_type(), at::kFloat);
    return out.detach();
  };
  const at::Tensor grouped = output(true), looped = output(false);
  EXPECT_EQ(grouped.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::allclose(grouped, looped, 2e-2, 1e-3));
}

TEST(MoE, WrongOptionsAreRefused) {
  const auto build = [](const MoEOptions& options) { MoE(4, 4, options, at::TensorOptions()); };
  EXPECT_THROW(build({.num_shared_experts = -1}), Error);
  EXPECT_THROW(build({.load_balance_coeff = 0.0}), Error);
}

}  // namespace
}  // namespace coeus::nn
