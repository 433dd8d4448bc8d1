#include "coeus/models/llama3/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/base/error.h"
#include "coeus/models/llama3/flavors.h"
#include "coeus/models/registry.h"

namespace coeus {
namespace {

using testing::HasSubstr;

std::shared_ptr<Model> meta_model(const std::string& flavor) {
  return build_model({.name = "llama3",
                      .flavor = flavor,
                      .seq_len = 8192,
                      .tensors = at::TensorOptions().device(at::kMeta)});
}

/// A debugmodel of 64 positions with weights of seed 1.
std::shared_ptr<Model> small_model(const std::string& mask) {
  auto model = build_model({.name = "llama3",
                            .flavor = "debugmodel",
                            .seq_len = 64,
                            .mask = mask,
                            .tensors = at::TensorOptions()});
  model->init_weights(1);
  return model;
}

at::Tensor logits_of(Model& model, const at::Tensor& tokens, const std::vector<int64_t>& documents,
                     const at::Tensor& positions = {}) {
  at::NoGradGuard no_grad;
  const std::vector<SequenceLayout> rows(tokens.size(0),
                                         SequenceLayout::from_document_lengths(documents));
  const at::Tensor in_order =
      at::arange(tokens.size(1), at::kInt).unsqueeze(0).expand({tokens.size(0), -1}).contiguous();
  return model.forward(tokens, positions.defined() ? positions : in_order,
                       model.get_attention_masks(rows));
}

TEST(Llama3, FlavorsHaveTorchTitansParameterCounts) {
  EXPECT_EQ(parameter_count(*meta_model("debugmodel")), 6'163'712);
  EXPECT_EQ(parameter_count(*meta_model("8B")), 8'030'261'248);
  EXPECT_EQ(parameter_count(*meta_model("70B")), 70'553'706'496);
  EXPECT_EQ(parameter_count(*meta_model("405B")), 405'853'388'800);
  // Llama 3.2's published 1,235,814,400 and 3,212,749,824, and an output of its own each.
  EXPECT_EQ(parameter_count(*meta_model("1B")), 1'235'814'400 + 2048 * 128256);
  EXPECT_EQ(parameter_count(*meta_model("3B")), 3'212'749'824 + 3072 * 128256);
}

TEST(Llama3, EveryFlavorHasATwinThatMasksByDocument) {
  for (const auto& [name, sizes] : llama3::flavors()) {
    if (name.ends_with("_flex_attn")) {
      EXPECT_EQ(sizes.mask, parse_mask("causal & document")) << name;
    } else {
      EXPECT_EQ(sizes.mask, mask::causal()) << name;
      EXPECT_TRUE(llama3::flavors().contains(name + "_flex_attn")) << name;
    }
  }
}

TEST(Llama3, ParametersHaveTorchTitansNames) {
  const auto model = meta_model("debugmodel");
  std::vector<std::string> names;
  for (const auto& [name, parameter] : named_parameters_of(*model)) names.push_back(name);
  EXPECT_EQ(names.size(), 57U);
  EXPECT_THAT(names, testing::IsSupersetOf(
                         {"tok_embeddings.weight", "layers.0.attention.wq.weight",
                          "layers.5.attention.wo.weight", "layers.5.feed_forward.w2.weight",
                          "layers.0.attention_norm.weight", "layers.0.ffn_norm.weight",
                          "norm.weight", "output.weight"}));
}

TEST(Llama3, FlopsAreCountedAsTorchTitanCounts) {
  // 6 * 7,504,924,672 parameters beside the embedding + 12 * 32 layers * 4096 * 8192.
  EXPECT_DOUBLE_EQ(meta_model("8B")->flops_per_token(8192), 57'914'449'920.0);
}

TEST(Llama3, InitialWeightsFollowTorchTitansRules) {
  const auto model = small_model("causal");
  std::map<std::string, at::Tensor> weights;
  for (const auto& [name, parameter] : named_parameters_of(*model))
    weights[name] = parameter.detach();
  const auto std = [&](const std::string& name) { return weights.at(name).std().item<double>(); };
  EXPECT_NEAR(std("tok_embeddings.weight"), 1.0, 0.01);
  EXPECT_NEAR(std("layers.3.attention.wq.weight"), 0.02, 0.0005);
  EXPECT_NEAR(std("layers.3.feed_forward.w1.weight"), 0.02, 0.0005);
  EXPECT_NEAR(std("layers.0.attention.wo.weight"), 0.02 / std::sqrt(2.0), 0.0005);
  EXPECT_NEAR(std("layers.3.feed_forward.w2.weight"), 0.02 / std::sqrt(8.0), 0.0005);
  EXPECT_NEAR(std("layers.3.feed_forward.w3.weight"), 0.02 / std::sqrt(8.0), 0.0005);
  EXPECT_NEAR(std("output.weight"), 0.9866 / 16, 0.001);
  EXPECT_LE(weights.at("output.weight").abs().max().item<double>(), 3.0 / 16 + 1e-6);
  EXPECT_TRUE(at::equal(weights.at("norm.weight"), at::ones({256})));
}

TEST(Llama3, ADocumentsLogitsDoNotDependOnItsNeighbours) {
  const auto model = small_model("causal & document");
  torch::manual_seed(1);
  at::Tensor tokens = at::randint(0, 2048, {1, 64}, at::kLong);
  const at::Tensor before = logits_of(*model, tokens, {20, 30, 14});
  tokens.slice(1, 0, 20).copy_(at::randint(0, 2048, {1, 20}, at::kLong));
  tokens.slice(1, 50, 64).copy_(at::randint(0, 2048, {1, 14}, at::kLong));
  const at::Tensor after = logits_of(*model, tokens, {20, 30, 14});
  EXPECT_TRUE(at::equal(before.slice(1, 20, 50), after.slice(1, 20, 50)));
  EXPECT_FALSE(at::equal(before.slice(1, 0, 20), after.slice(1, 0, 20)));
}

TEST(Llama3, PositionsPerDocumentMakeAPackedDocumentEqualToOneAlone) {
  const auto model = small_model("causal & document");
  torch::manual_seed(1);
  const at::Tensor tokens = at::randint(0, 2048, {1, 64}, at::kLong);
  const at::Tensor restarted =
      at::cat({at::arange(40, at::kInt), at::arange(24, at::kInt)}).unsqueeze(0);
  const at::Tensor packed = logits_of(*model, tokens, {40, 24}, restarted);
  const at::Tensor alone = logits_of(*model, tokens.slice(1, 40), {24});
  EXPECT_LE((packed.slice(1, 40) - alone).abs().max().item<double>(), 1e-5);
}

TEST(Llama3, OrderSensitiveBuffersAreTokensLabelsAndPositions) {
  const auto buffers = meta_model("debugmodel")->get_order_sensitive_buffers(4, 128);
  std::vector<std::string> names;
  for (const OrderSensitiveBuffer& buffer : buffers) {
    names.push_back(buffer.name);
    EXPECT_EQ(buffer.shape, (std::vector<int64_t>{4, 128}));
    EXPECT_EQ(buffer.sequence_dim, 1);
  }
  EXPECT_THAT(names, testing::ElementsAre("tokens", "labels", "positions"));
}

TEST(Llama3, WrongNamesAreRefusedWithTheRightOnes) {
  const auto message = [](const ModelOptions& options) -> std::string {
    try {
      build_model(options);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message({.name = "llama9"}), HasSubstr("llama3"));
  EXPECT_THAT(message({.name = "llama3", .flavor = "9B"}),
              HasSubstr("debugmodel, debugmodel_flex"));
  EXPECT_THAT(message({.name = "llama3", .flavor = "8B", .masks = {{"rope", "causal"}}}),
              HasSubstr("model.masks.rope"));
  EXPECT_THAT(message({.name = "llama3", .flavor = "8B", .mask = "causal &"}), HasSubstr("column"));
}

}  // namespace
}  // namespace coeus
