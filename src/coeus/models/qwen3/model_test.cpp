#include "coeus/models/qwen3/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>

#include "coeus/models/qwen3/flavors.h"
#include "coeus/models/registry.h"

namespace coeus {
namespace {

std::shared_ptr<Model> meta_model(const std::string& flavor) {
  return build_model({.name = "qwen3",
                      .flavor = flavor,
                      .seq_len = 4096,
                      .tensors = at::TensorOptions().device(at::kMeta)});
}

std::shared_ptr<Model> small_model(const std::string& flavor) {
  auto model = build_model(
      {.name = "qwen3", .flavor = flavor, .seq_len = 64, .tensors = at::TensorOptions()});
  model->init_weights(1);
  return model;
}

std::map<std::string, at::Tensor> weights_of(const Model& model) {
  std::map<std::string, at::Tensor> weights;
  for (const auto& [name, parameter] : named_parameters_of(model)) weights[name] = parameter;
  return weights;
}

at::Tensor loss_of(Model& model, const at::Tensor& tokens) {
  const std::vector<SequenceLayout> rows(
      1, SequenceLayout::from_document_lengths(std::vector<int64_t>{tokens.size(1)}));
  const at::Tensor positions = at::arange(tokens.size(1), at::kInt).unsqueeze(0);
  const at::Tensor logits =
      model.forward(tokens, positions, model.get_attention_masks(rows)).squeeze(0);
  return at::cross_entropy_loss(logits.slice(0, 0, -1), tokens[0].slice(0, 1));
}

TEST(Qwen3, FlavorsHaveThePublishedParameterCounts) {
  EXPECT_EQ(parameter_count(*meta_model("debugmodel")), 6'950'528);
  EXPECT_EQ(parameter_count(*meta_model("debugmodel_moe_small")), 12'861'056);
  EXPECT_EQ(parameter_count(*meta_model("0.6B")), 596'049'920);
  EXPECT_EQ(parameter_count(*meta_model("1.7B")), 1'720'574'976);
  EXPECT_EQ(parameter_count(*meta_model("4B")), 4'022'468'096);
  EXPECT_EQ(parameter_count(*meta_model("8B")), 8'190'735'360);
  EXPECT_EQ(parameter_count(*meta_model("14B")), 14'768'307'200);
  EXPECT_EQ(parameter_count(*meta_model("32B")), 32'762'123'264);
  EXPECT_EQ(parameter_count(*meta_model("30B-A3B")), 30'532'122'624);
  EXPECT_EQ(parameter_count(*meta_model("235B-A22B")), 235'093'634'560);
}

TEST(Qwen3, ATokenUsesTheSharesOfItsExperts) {
  EXPECT_EQ(active_parameter_count(*meta_model("30B-A3B")), 3'353'032'704);
  EXPECT_EQ(active_parameter_count(*meta_model("235B-A22B")), 22'190'763'520);
}

TEST(Qwen3, EveryFlavorHasATwinThatMasksByDocument) {
  for (const auto& [name, sizes] : qwen3::flavors()) {
    if (name.ends_with("_flex_attn")) {
      EXPECT_EQ(sizes.mask, parse_mask("causal & document")) << name;
    } else {
      EXPECT_EQ(sizes.mask, mask::causal()) << name;
      EXPECT_TRUE(qwen3::flavors().contains(name + "_flex_attn")) << name;
    }
  }
}

TEST(Qwen3, ParametersHaveTorchTitansNames) {
  const auto dense = weights_of(*meta_model("debugmodel"));
  EXPECT_EQ(dense.size(), 69U);
  for (const char* name :
       {"tok_embeddings.weight", "layers.0.attention.q_norm.weight",
        "layers.0.attention.k_norm.weight", "layers.5.attention.wo.weight",
        "layers.5.feed_forward.w2.weight", "layers.0.ffn_norm.weight", "output.weight"})
    EXPECT_TRUE(dense.contains(name)) << name;
  const auto moe = weights_of(*meta_model("debugmodel_moe_small"));
  EXPECT_EQ(moe.size(), 75U);
  EXPECT_EQ(moe.at("layers.0.moe.experts.w1").sizes(), (std::vector<int64_t>{8, 256, 256}));
  EXPECT_TRUE(moe.contains("layers.5.moe.router.gate.weight"));
}

TEST(Qwen3, FlopsCountTheParametersATokenMultiplies) {
  // A tied weight multiplies as output, an embedding of its own does not.
  const double attention = 12.0 * 28 * 16 * 128 * 4096;
  EXPECT_DOUBLE_EQ(meta_model("0.6B")->flops_per_token(4096), 6.0 * 596'049'920 + attention);
  EXPECT_DOUBLE_EQ(meta_model("30B-A3B")->flops_per_token(4096),
                   6.0 * (3'353'032'704 - 2048L * 151936) + 12.0 * 48 * 32 * 128 * 4096);
}

TEST(Qwen3, InitialWeightsFollowTorchTitansRules) {
  const auto weights = weights_of(*small_model("debugmodel_moe_small"));
  const auto std = [&](const std::string& name) {
    return weights.at(name).detach().std().item<double>();
  };
  EXPECT_NEAR(std("tok_embeddings.weight"), 1.0, 0.01);
  EXPECT_NEAR(std("layers.3.attention.wq.weight"), 0.02, 0.0005);
  EXPECT_NEAR(std("layers.3.attention.wo.weight"), 0.02 / std::sqrt(8.0), 0.0005);
  EXPECT_NEAR(std("layers.3.moe.experts.w1"), 0.02, 0.0005);
  EXPECT_NEAR(std("layers.3.moe.experts.w2"), 0.02 / std::sqrt(8.0), 0.0005);
  EXPECT_TRUE(at::equal(weights.at("layers.3.attention.q_norm.weight"), at::ones({32})));
  EXPECT_NEAR(std("output.weight"), 0.9866 / 16, 0.001);
}

TEST(Qwen3WeightTying, OneParameterServesAsEmbeddingAndOutput) {
  const auto model = small_model("debugmodel_tied");
  const auto weights = weights_of(*model);
  EXPECT_FALSE(weights.contains("output.weight"));
  EXPECT_EQ(weights.size(), 68U);
  EXPECT_NEAR(weights.at("tok_embeddings.weight").detach().std().item<double>(), 0.02, 0.0005);
  const at::NoGradGuard no_grad;
  const double loss = loss_of(*model, at::arange(0, 2048, 32).unsqueeze(0)).item<double>();
  EXPECT_NEAR(loss, std::log(2048.0), 0.3);
}

TEST(Qwen3WeightTying, ItsGradientIsTheSumOfBothUses) {
  const auto tied = small_model("debugmodel_tied");
  const auto untied = small_model("debugmodel");
  auto of_tied = weights_of(*tied);
  auto of_untied = weights_of(*untied);
  {
    const at::NoGradGuard no_grad;
    for (auto& [name, weight] : of_untied)
      weight.copy_(of_tied.at(name == "output.weight" ? "tok_embeddings.weight" : name));
  }
  const at::Tensor tokens = at::arange(0, 2048, 32).unsqueeze(0);
  const at::Tensor loss = loss_of(*tied, tokens), other_loss = loss_of(*untied, tokens);
  EXPECT_TRUE(at::equal(loss, other_loss));
  loss.backward();
  other_loss.backward();
  const at::Tensor sum =
      of_untied.at("tok_embeddings.weight").grad() + of_untied.at("output.weight").grad();
  EXPECT_LE((of_tied.at("tok_embeddings.weight").grad() - sum).abs().max().item<double>(), 1e-7);
  EXPECT_GT(of_untied.at("tok_embeddings.weight").grad().abs().max().item<double>(), 1e-4);
}

}  // namespace
}  // namespace coeus
