#include "coeus/models/llama4/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/base/error.h"
#include "coeus/models/llama4/flavors.h"
#include "coeus/models/registry.h"

namespace coeus {
namespace {

using testing::HasSubstr;

std::shared_ptr<Model> meta_model(const std::string& flavor) {
  return build_model({.name = "llama4",
                      .flavor = flavor,
                      .seq_len = 8192,
                      .tensors = at::TensorOptions().device(at::kMeta)});
}

/// A model of 64 positions with weights of seed 1 and the masks of `debugmodel_irope`, chunks
/// of 16.
std::shared_ptr<Model> small_irope_model() {
  auto model = build_model({.name = "llama4",
                            .flavor = "debugmodel_irope",
                            .seq_len = 64,
                            .masks = {{"rope", "causal & document & chunk(16)"}},
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

std::string refusal(const ModelOptions& options) {
  try {
    build_model(options);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

/// What Scout and Maverick have: layers of attention and norms, of which `moe` with experts.
int64_t big_model_parameters(int64_t num_experts, int64_t moe, bool active) {
  const int64_t dim = 5120, hidden = 16384, expert = 8192, vocab = 202048, layers = 48;
  const int64_t attention = 2 * dim * dim + 2 * dim * (8 * 128);
  const int64_t of_expert = 3 * dim * expert;
  const int64_t used = active ? 1 : num_experts;
  return 2 * vocab * dim + dim + layers * (attention + 2 * dim) +
         (layers - moe) * 3 * dim * hidden +
         moe * (used * of_expert + of_expert + num_experts * dim);
}

TEST(Llama4, FlavorsHaveTorchTitansParameterCounts) {
  for (const std::string suffix : {"", "_irope"}) {
    const auto debug = meta_model("debugmodel" + suffix);
    EXPECT_EQ(parameter_count(*debug), 15'017'216);
    EXPECT_EQ(active_parameter_count(*debug), 6'759'680);
    const auto scout = meta_model("17bx16e" + suffix);
    EXPECT_EQ(parameter_count(*scout), big_model_parameters(16, 48, false));
    EXPECT_EQ(active_parameter_count(*scout), big_model_parameters(16, 48, true));
    const auto maverick = meta_model("17bx128e" + suffix);
    EXPECT_EQ(parameter_count(*maverick), big_model_parameters(128, 24, false));
    EXPECT_EQ(active_parameter_count(*maverick), big_model_parameters(128, 24, true));
  }
  // Scout's published sizes: 109 billion, 17 of them active; Maverick's 400 and 17.
  EXPECT_EQ(big_model_parameters(16, 48, false), 107'769'861'120);
  EXPECT_EQ(big_model_parameters(128, 24, false), 400'711'848'960);
}

TEST(Llama4, EveryFlavorHasAnIropeTwinOfTwoMasks) {
  for (const auto& [name, sizes] : llama4::flavors()) {
    if (!name.ends_with("_irope")) {
      EXPECT_EQ(sizes.masks, llama4::causal_masks()) << name;
      EXPECT_EQ(sizes.every_n_layers_nope, 0);
      EXPECT_TRUE(llama4::flavors().contains(name + "_irope")) << name;
      continue;
    }
    EXPECT_EQ(sizes.every_n_layers_nope, 4);
    const std::string chunk = name == "debugmodel_irope" ? "chunk(256)" : "chunk(8192)";
    EXPECT_EQ(sizes.masks.at("nope"), parse_mask("causal & document")) << name;
    EXPECT_EQ(sizes.masks.at("rope"), parse_mask("causal & document & " + chunk)) << name;
  }
}

TEST(Llama4, LayersAlternateAndParametersHaveTorchTitansNames) {
  const auto model = meta_model("debugmodel_irope");
  std::vector<std::string> names;
  for (const auto& [name, tensor] : checkpoint_tensors_of(*model)) names.push_back(name);
  EXPECT_THAT(names,
              testing::IsSupersetOf({"layers.0.feed_forward.w1.weight", "layers.1.moe.experts.w1",
                                     "layers.1.moe.router.gate.weight",
                                     "layers.1.moe.shared_experts.w1.weight",
                                     "layers.1.moe.expert_bias", "layers.5.moe.experts.w2"}));
  EXPECT_THAT(names, testing::Not(testing::Contains("layers.2.moe.experts.w1")));
  EXPECT_EQ(named_parameters_of(*model).size(), 69U);
}

TEST(Llama4, FlopsAreCountedAsTorchTitanCounts) {
  const auto model = meta_model("debugmodel");
  EXPECT_DOUBLE_EQ(model->flops_per_token(2048),
                   6.0 * (6'759'680 - 2048 * 256) + 12.0 * 6 * 256 * 2048);
}

TEST(Llama4, ADocumentsLogitsDoNotDependOnItsNeighbours) {
  const auto model = small_irope_model();
  torch::manual_seed(1);
  at::Tensor tokens = at::randint(0, 2048, {1, 64}, at::kLong);
  const at::Tensor before = logits_of(*model, tokens, {20, 30, 14});
  tokens.slice(1, 0, 20).copy_(at::randint(0, 2048, {1, 20}, at::kLong));
  tokens.slice(1, 50, 64).copy_(at::randint(0, 2048, {1, 14}, at::kLong));
  const at::Tensor after = logits_of(*model, tokens, {20, 30, 14});
  // Which rows share an expert's product with it changes its rounding.
  EXPECT_TRUE(at::allclose(before.slice(1, 20, 50), after.slice(1, 20, 50), 1e-4, 1e-4));
  EXPECT_FALSE(at::allclose(before.slice(1, 0, 20), after.slice(1, 0, 20), 1e-4, 1e-4));
}

TEST(Llama4, ADocumentMovedByWholeChunksKeepsItsLogits) {
  const auto model = small_irope_model();
  torch::manual_seed(1);
  const at::Tensor tokens = at::randint(0, 2048, {1, 64}, at::kLong);
  const at::Tensor restarted =
      at::cat({at::arange(32, at::kInt), at::arange(32, at::kInt)}).unsqueeze(0);
  const at::Tensor packed = logits_of(*model, tokens, {32, 32}, restarted);
  const at::Tensor alone = logits_of(*model, tokens.slice(1, 32), {32});
  EXPECT_LE((packed.slice(1, 32) - alone).abs().max().item<double>(), 1e-4);
}

TEST(Llama4, AChunkEdgeInsideADocumentHidesWhatIsBeforeItInRopeLayersOnly) {
  const auto model = small_irope_model();
  torch::manual_seed(1);
  const std::vector<SequenceLayout> rows = {
      SequenceLayout::from_document_lengths(std::vector<int64_t>{10, 54})};
  const AttentionMasks masks = model->get_attention_masks(rows);
  // The second document stands at 10 to 63; chunks end at 16, 32 and 48.
  EXPECT_TRUE(masks.at("rope").sees(0, 15, 10));
  EXPECT_FALSE(masks.at("rope").sees(0, 16, 15));
  EXPECT_TRUE(masks.at("nope").sees(0, 16, 15));
  EXPECT_FALSE(masks.at("nope").sees(0, 16, 9));

  // Layers 0 and 4 have no chunks: a change before the edge still reaches past it.
  at::Tensor tokens = at::randint(0, 2048, {1, 64}, at::kLong);
  const at::Tensor before = logits_of(*model, tokens, {10, 54});
  tokens[0][12] = (tokens[0][12] + 1) % 2048;
  const at::Tensor after = logits_of(*model, tokens, {10, 54});
  EXPECT_FALSE(at::allclose(before.slice(1, 16), after.slice(1, 16), 1e-5, 1e-5));

  // With the chunk in every layer it does not.
  auto chunked = build_model({.name = "llama4",
                              .flavor = "debugmodel_irope",
                              .seq_len = 64,
                              .masks = {{"rope", "causal & document & chunk(16)"},
                                        {"nope", "causal & document & chunk(16)"}},
                              .tensors = at::TensorOptions()});
  chunked->init_weights(1);
  const at::Tensor again = logits_of(*chunked, tokens, {10, 54});
  tokens[0][12] = (tokens[0][12] + 1) % 2048;
  const at::Tensor changed = logits_of(*chunked, tokens, {10, 54});
  EXPECT_TRUE(at::allclose(again.slice(1, 16), changed.slice(1, 16), 1e-4, 1e-4));
  EXPECT_FALSE(at::allclose(again.slice(1, 12, 16), changed.slice(1, 12, 16), 1e-4, 1e-4));
}

TEST(Llama4, NopeLayersHaveNoPositions) {
  const auto logits = [](const std::string& flavor) {
    auto model = build_model(
        {.name = "llama4", .flavor = flavor, .seq_len = 64, .tensors = at::TensorOptions()});
    model->init_weights(1);
    torch::manual_seed(1);
    const at::Tensor tokens = at::randint(0, 2048, {1, 16}, at::kLong);
    return logits_of(*model, tokens, {16});
  };
  // The two differ in the positions of layers 0 and 4 alone, for 16 tokens lie in one chunk.
  EXPECT_FALSE(at::allclose(logits("debugmodel"), logits("debugmodel_irope"), 1e-3, 1e-3));
}

TEST(Llama4, MasksAreReplacedByName) {
  EXPECT_THAT(refusal({.name = "llama4", .flavor = "debugmodel_irope", .mask = "causal"}),
              HasSubstr("model.masks.nope or model.masks.rope"));
  EXPECT_THAT(
      refusal({.name = "llama4", .flavor = "debugmodel_irope", .masks = {{"global", "causal"}}}),
      HasSubstr("it has nope, rope"));
  EXPECT_THAT(refusal({.name = "llama4", .flavor = "debugmodel", .masks = {{"rope", "causal"}}}),
              HasSubstr("model.mask"));
}

}  // namespace
}  // namespace coeus
