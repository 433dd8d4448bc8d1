#include "coeus/models/deepseek_v3/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>

#include "coeus/models/deepseek_v3/flavors.h"
#include "coeus/models/registry.h"

namespace coeus {
namespace {

std::shared_ptr<Model> meta_model(const std::string& flavor) {
  return build_model({.name = "deepseek_v3",
                      .flavor = flavor,
                      .seq_len = 4096,
                      .tensors = at::TensorOptions().device(at::kMeta)});
}

std::map<std::string, at::Tensor> weights_of(const Model& model) {
  std::map<std::string, at::Tensor> weights;
  for (const auto& [name, parameter] : named_parameters_of(model)) weights[name] = parameter;
  return weights;
}

TEST(DeepSeekV3, FlavorsHaveTorchTitansParameterCounts) {
  EXPECT_EQ(parameter_count(*meta_model("debugmodel")), 33'014'016);
  EXPECT_EQ(parameter_count(*meta_model("debugmodel_flex_attn")), 33'014'016);
  EXPECT_EQ(parameter_count(*meta_model("16B")), 15'706'484'224);
  EXPECT_EQ(parameter_count(*meta_model("236B")), 235'741'434'880);
  EXPECT_EQ(parameter_count(*meta_model("671B")), 671'026'404'352);
}

TEST(DeepSeekV3, ATokenUsesTheSharesOfItsExperts) {
  EXPECT_EQ(active_parameter_count(*meta_model("debugmodel")), 28'098'816);
  EXPECT_EQ(active_parameter_count(*meta_model("671B")), 37'552'282'624);
}

TEST(DeepSeekV3, AllFlavorsButOneMaskByDocument) {
  for (const auto& [name, sizes] : deepseek_v3::flavors())
    EXPECT_EQ(sizes.mask, parse_mask(name == "debugmodel" ? "causal" : "causal & document"))
        << name;
}

TEST(DeepSeekV3, ParametersHaveTorchTitansNames) {
  const auto weights = weights_of(*meta_model("debugmodel"));
  EXPECT_EQ(weights.size(), 83U);
  for (const char* name :
       {"layers.0.attention.wq.weight", "layers.0.attention.wkv_a.weight",
        "layers.0.attention.kv_norm.weight", "layers.0.attention.wkv_b.weight",
        "layers.0.feed_forward.w1.weight", "layers.1.moe.experts.w3",
        "layers.1.moe.router.gate.weight", "layers.5.moe.shared_experts.w2.weight", "norm.weight"})
    EXPECT_TRUE(weights.contains(name)) << name;
  const auto with_latent = weights_of(*meta_model("671B"));
  for (const char* name : {"layers.2.feed_forward.w1.weight", "layers.3.moe.experts.w1",
                           "layers.0.attention.wq_a.weight", "layers.0.attention.q_norm.weight",
                           "layers.0.attention.wq_b.weight"})
    EXPECT_TRUE(with_latent.contains(name)) << name;
  EXPECT_FALSE(with_latent.contains("layers.0.attention.wq.weight"));
}

TEST(DeepSeekV3, FlopsCountKeysAndValuesAsWideAsTheyAre) {
  EXPECT_DOUBLE_EQ(meta_model("debugmodel")->flops_per_token(2048),
                   6.0 * (28'098'816 - 2048 * 256) + 6.0 * 6 * 16 * (192 + 128) * 2048);
}

TEST(DeepSeekV3, InitialWeightsFollowTorchTitansRules) {
  const auto model = build_model({.name = "deepseek_v3",
                                  .flavor = "debugmodel",
                                  .seq_len = 64,
                                  .tensors = at::TensorOptions()});
  model->init_weights(1);
  const auto weights = weights_of(*model);
  const auto std = [&](const std::string& name) {
    return weights.at(name).detach().std().item<double>();
  };
  EXPECT_NEAR(std("layers.3.attention.wkv_b.weight"), 0.02, 0.0005);
  EXPECT_NEAR(std("layers.3.attention.wo.weight"), 0.02 / std::sqrt(8.0), 0.0005);
  EXPECT_NEAR(std("layers.0.feed_forward.w3.weight"), 0.02 / std::sqrt(2.0), 0.0005);
  EXPECT_NEAR(std("layers.3.moe.shared_experts.w3.weight"), 0.02 / std::sqrt(8.0), 0.0005);
  EXPECT_TRUE(at::equal(weights.at("layers.3.attention.kv_norm.weight"), at::ones({512})));
}

TEST(DeepSeekV3, YarnHoldsOnlyBeyondTheOriginalContextUnlessAsked) {
  deepseek_v3::Sizes sizes = deepseek_v3::flavors().at("16B");
  const double plain = 1 / std::sqrt(192.0);
  const double mscale = 0.1 * 0.7 * std::log(40.0) + 1;
  sizes.training_seq_len = 4096;
  EXPECT_DOUBLE_EQ(sizes.attention_scale(), plain);
  sizes.training_seq_len = 4097;
  EXPECT_DOUBLE_EQ(sizes.attention_scale(), plain * mscale * mscale);
  sizes.training_seq_len = 16;
  sizes.yarn_at_every_length = true;
  EXPECT_DOUBLE_EQ(sizes.attention_scale(), plain * mscale * mscale);
  sizes.yarn.reset();
  EXPECT_DOUBLE_EQ(sizes.attention_scale(), plain);
}

/// Logits of 32 tokens by a model that knows `positions` positions.
at::Tensor logits_of(int64_t training_seq_len, int64_t positions) {
  const auto model = build_model({.name = "deepseek_v3",
                                  .flavor = "debugmodel",
                                  .seq_len = positions,
                                  .training_seq_len = training_seq_len,
                                  .tensors = at::TensorOptions()});
  model->init_weights(1);
  const at::NoGradGuard no_grad;
  const std::vector<SequenceLayout> rows = {
      SequenceLayout::from_document_lengths(std::vector<int64_t>{32})};
  return model->forward(at::arange(32, at::kLong).unsqueeze(0),
                        at::arange(32, at::kInt).unsqueeze(0), model->get_attention_masks(rows));
}

TEST(DeepSeekV3, TheNumberOfPositionsDoesNotSwitchYarn) {
  const at::Tensor plain = logits_of(64, 64), stretched = logits_of(5000, 5000);
  EXPECT_FALSE(at::equal(plain, stretched));
  EXPECT_TRUE(at::equal(logits_of(64, 5000), plain));
  EXPECT_TRUE(at::equal(logits_of(5000, 32), stretched));
}

TEST(DeepSeekV3, FlavorsRouteAsTheModelsWereTrained) {
  const nn::MoEOptions& v3 = deepseek_v3::flavors().at("671B").moe;
  EXPECT_EQ(v3.n_expert_groups, 8);
  EXPECT_EQ(v3.n_limited_groups, 4);
  EXPECT_EQ(v3.score_func, nn::ScoreFunction::kSigmoid);
  EXPECT_TRUE(v3.route_norm);
  const nn::MoEOptions& v2 = deepseek_v3::flavors().at("236B").moe;
  EXPECT_EQ(v2.n_limited_groups, 3);
  EXPECT_EQ(v2.group_top, 1);
  EXPECT_EQ(v2.route_scale, 16);
}

}  // namespace
}  // namespace coeus
