#include "coeus/models/vlm/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

#include "coeus/base/error.h"
#include "coeus/models/registry.h"
#include "coeus/nn/init.h"

namespace coeus {
namespace {

using testing::HasSubstr;

constexpr int64_t kImageToken = 1998;
constexpr int64_t kPatchDim = 768;

std::shared_ptr<Model> small_model(const std::string& name = "vlm",
                                   const std::string& flavor = "debugmodel") {
  auto model =
      build_model({.name = name, .flavor = flavor, .seq_len = 64, .tensors = at::TensorOptions()});
  model->init_weights(1);
  return model;
}

/// Two rows of 40 tokens: in the first an image of 2 x 3 and one of 2 x 2 patches in documents of
/// their own, in the second one of 1 x 3.
struct TestBatch {
  TestBatch() {
    torch::manual_seed(4);
    tokens = at::randint(0, 1900, {2, 40}, at::kLong);
    tokens[0].slice(0, 2, 8).fill_(kImageToken);
    tokens[0].slice(0, 30, 34).fill_(kImageToken);
    tokens[1].slice(0, 37).fill_(kImageToken);
    labels = at::randint(0, 1900, {2, 40}, at::kLong);
    positions = at::arange(40, at::kInt).expand({2, -1}).contiguous();
    images = {at::randn({1, 13, kPatchDim}), {{2, 3}, {2, 2}, {1, 3}}, kImageToken};
  }
  AttentionMasks masks(const Model& model) const {
    const std::vector<SequenceLayout> rows = {
        SequenceLayout::from_document_lengths(std::vector<int64_t>{25, 15}),
        SequenceLayout::from_document_lengths(std::vector<int64_t>{40})};
    AttentionMasks masks = model.get_attention_masks(rows);
    masks.merge(model.get_image_masks(
        SequenceLayout::from_document_lengths(std::vector<int64_t>{6, 4, 3})));
    return masks;
  }
  at::Tensor logits(Model& model) const {
    const at::NoGradGuard no_grad;
    return model.forward_with_images(tokens, positions, masks(model), images);
  }
  at::Tensor loss(Model& model) const {
    return model.loss_sum_with_images(tokens, labels, positions, masks(model), images);
  }

  at::Tensor tokens, labels, positions;
  ImageTensors images;
};

TEST(Vlm, FlavorsHaveTheRightParameterCounts) {
  const auto count = [](const std::string& name, const std::string& flavor) {
    return parameter_count(
        *build_model({.name = name, .flavor = flavor, .seq_len = 64, .tensors = at::kMeta}));
  };
  // Embeddings, then norms, attention and the feed-forward layer of each block, then the last norm.
  const auto encoder = [](int64_t dim, int64_t ffn, int64_t layers) {
    return (kPatchDim + 1) * dim + 256 * dim +
           layers * (4 * dim + 4 * (dim + 1) * dim + (dim + 1) * ffn + (ffn + 1) * dim) + 2 * dim;
  };
  const auto projector = [](int64_t in, int64_t out) { return (in + 1) * (in + out); };
  EXPECT_EQ(count("vlm", "debugmodel"), 6'163'712 + encoder(128, 256, 4) + projector(128, 256));
  EXPECT_EQ(count("vlm", "8B"), 8'030'261'248 + encoder(768, 3072, 12) + projector(768, 4096));
}

TEST(Vlm, ParametersHaveTorchTitansNames) {
  std::vector<std::string> names;
  for (const auto& [name, parameter] : named_parameters_of(*small_model())) names.push_back(name);
  EXPECT_EQ(names.size(), 57U + 3U + 4U * 16U + 2U + 4U);
  EXPECT_THAT(
      names, testing::IsSupersetOf(
                 {"encoder.embeddings.patch_embedding.bias",
                  "encoder.embeddings.position_embedding.weight",
                  "encoder.layers.0.layer_norm1.bias", "encoder.layers.3.self_attn.out_proj.weight",
                  "encoder.layers.3.mlp.fc2.bias", "encoder.post_layernorm.weight",
                  "projector.w1.weight", "projector.w2.bias", "tok_embeddings.weight",
                  "layers.5.attention.wq.weight", "norm.weight", "output.weight"}));
}

TEST(Vlm, InitialWeightsAreDrawnByTheirNames) {
  const auto model = small_model();
  for (const auto& [name, parameter] : named_parameters_of(*model)) {
    at::Tensor expected = at::empty_like(parameter);
    if (name == "encoder.layers.2.self_attn.q_proj.weight")
      nn::init_truncated_normal(expected, 1, name, 0.02);
    else if (name == "projector.w2.weight")
      nn::init_uniform(expected, 1, name, std::sqrt(6.0 / (128 + 256)));
    else
      continue;
    EXPECT_TRUE(at::equal(parameter, expected)) << name;
  }
}

TEST(Vlm, ImageTokensNeedNotBeLookedForWhereTheirPlacesAreGiven) {
  TestBatch batch;
  const auto model = small_model();
  const at::Tensor found = batch.logits(*model);
  batch.images.places = (batch.tokens == batch.images.token).flatten().nonzero().squeeze(1);
  EXPECT_TRUE(at::equal(batch.logits(*model), found));
  batch.images.places = batch.images.places.flip(0);
  EXPECT_FALSE(at::equal(batch.logits(*model), found));
}

TEST(Vlm, TheDecodersTableMovesWithTheBuffers) {
  const TestBatch batch;
  const auto model = small_model();
  EXPECT_NO_THROW(batch.logits(*model));
  model->move_buffers(at::kMeta);
  EXPECT_THROW(batch.logits(*model), Error);
}

TEST(Vlm, MasksAreNamedAndMayBeReplaced) {
  const TestBatch batch;
  const auto masks = batch.masks(*small_model());
  EXPECT_EQ(masks.at("llama3_masks").area(0), 25 * 26 / 2 + 15 * 16 / 2);
  EXPECT_EQ(masks.at("encoder_masks").area(), 36 + 16 + 9);
  const auto causal = build_model({.name = "vlm",
                                   .flavor = "debugmodel",
                                   .seq_len = 64,
                                   .masks = {{"llama3_masks", "causal"}},
                                   .tensors = at::kMeta});
  EXPECT_EQ(batch.masks(*causal).at("llama3_masks").area(0), 40 * 41 / 2);
  EXPECT_EQ(batch.masks(*causal).at("encoder_masks").area(), 36 + 16 + 9);
}

TEST(Vlm, TextAloneIsLlama3sBitForBit) {
  const auto model = small_model(), llama3 = small_model("llama3", "debugmodel_flex_attn");
  TestBatch batch;
  batch.tokens = batch.tokens.remainder(1900);
  batch.images = {};
  EXPECT_TRUE(at::equal(batch.logits(*model), batch.logits(*llama3)));
  batch.images.token = kImageToken;
  EXPECT_TRUE(at::equal(batch.logits(*model), batch.logits(*llama3)));
  const auto gradient = [&](Model& m) {
    batch.loss(m).backward();
    return named_parameters_of(m);
  };
  std::map<std::string, at::Tensor> expected;
  batch.images = {};
  for (const auto& [name, parameter] : gradient(*llama3)) expected[name] = parameter.grad();
  for (const auto& [name, parameter] : gradient(*model)) {
    if (!expected.contains(name)) continue;
    EXPECT_TRUE(at::equal(parameter.grad(), expected[name])) << name;
  }
}

TEST(Vlm, ImageTokensAreReplacedInOrder) {
  const auto model = small_model();
  const TestBatch batch;
  at::Tensor input;
  // The encoder has four blocks.
  model->blocks().at(4)->set_observer([&](const at::Tensor& in, const at::Tensor&) { input = in; });
  batch.logits(*model);

  const at::NoGradGuard no_grad;
  const vlm::Siglip2Sizes sizes = {.dim = 128, .ffn_dim = 256, .n_layers = 4, .n_heads = 2};
  vlm::VisionTransformer encoder(sizes, AttentionEngine::kAuto, at::TensorOptions());
  vlm::Projector projector(128, 256, at::TensorOptions());
  encoder.init_weights(1, "encoder");
  projector.init_weights(1, "projector");
  const at::Tensor seen = projector.forward(
      encoder.forward(batch.images.patches, batch.images.grids, batch.masks(*model)))[0];
  at::Tensor expected;
  for (const auto& [name, parameter] : named_parameters_of(*model))
    if (name == "tok_embeddings.weight") expected = at::embedding(parameter, batch.tokens);
  expected[0].slice(0, 2, 8).copy_(seen.slice(0, 0, 6));
  expected[0].slice(0, 30, 34).copy_(seen.slice(0, 6, 10));
  expected[1].slice(0, 37).copy_(seen.slice(0, 10));
  EXPECT_TRUE(at::equal(input, expected));
}

TEST(Vlm, AnImageIsSeenByLaterTokensOfItsDocument) {
  const auto model = small_model();
  TestBatch batch;
  const at::Tensor before = batch.logits(*model);
  // The second image, from token 30 of the first row, in the document from token 25.
  batch.images.patches = batch.images.patches.clone();
  batch.images.patches.slice(1, 6, 10).mul_(-1);
  const at::Tensor after = batch.logits(*model);
  EXPECT_TRUE(at::equal(before[0].slice(0, 0, 30), after[0].slice(0, 0, 30)));
  EXPECT_TRUE(at::equal(before[1], after[1]));
  EXPECT_GT((before[0].slice(0, 34) - after[0].slice(0, 34)).abs().max().item<double>(), 1e-3);
}

TEST(Vlm, GradientsReachEncoderAndProjector) {
  const auto model = small_model();
  TestBatch().loss(*model).backward();
  for (const auto& [name, parameter] : named_parameters_of(*model)) {
    ASSERT_TRUE(parameter.grad().defined()) << name;
    EXPECT_GT(parameter.grad().abs().max().item<double>(), 0) << name;
  }
}

TEST(Vlm, RecomputedBlocksChangeNoBit) {
  const TestBatch batch;
  const auto run = [&](bool recompute) {
    const auto model = small_model();
    for (nn::Block* block : model->blocks()) block->set_recompute(recompute);
    std::vector<at::Tensor> results = {batch.loss(*model)};
    results[0].backward();
    for (const auto& [name, parameter] : named_parameters_of(*model))
      results.push_back(parameter.grad());
    return results;
  };
  const auto kept = run(false), recomputed = run(true);
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_TRUE(at::equal(kept[i], recomputed[i])) << i;
}

TEST(Vlm, ALossByChunksIsThatOfAllAtOnce) {
  const TestBatch batch;
  const auto run = [&](int64_t chunk_size) {
    const auto model = small_model();
    model->set_loss_chunk_size(chunk_size);
    std::vector<at::Tensor> results = {batch.loss(*model)};
    results[0].backward();
    for (const auto& [name, parameter] : named_parameters_of(*model))
      results.push_back(parameter.grad());
    return results;
  };
  const auto at_once = run(0), by_chunks = run(30);
  for (size_t i = 0; i < at_once.size(); ++i)
    EXPECT_TRUE(at::allclose(by_chunks[i], at_once[i], 1e-4, 1e-6)) << i;
}

TEST(Vlm, TextAloneGivesTheEncoderNoGradient) {
  const auto model = small_model();
  TestBatch batch;
  batch.tokens = batch.tokens.remainder(1900);
  batch.images = {};
  // As the optimizer does, which wants a gradient of every parameter.
  for (auto& [name, parameter] : named_parameters_of(*model))
    parameter.mutable_grad() = at::zeros_like(parameter);
  batch.loss(*model).backward();
  for (const auto& [name, parameter] : named_parameters_of(*model)) {
    const bool sees = name.starts_with("encoder.") || name.starts_with("projector.");
    EXPECT_EQ(parameter.grad().abs().max().item<double>() == 0, sees) << name;
  }
}

TEST(Vlm, OtherThanOneTokenAPatchIsRefusedWithBothNumbers) {
  const auto message = [](Model& model, const TestBatch& batch) {
    try {
      batch.logits(model);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const auto model = small_model();
  TestBatch batch;
  batch.tokens[1][39] = 5;
  EXPECT_THAT(message(*model, batch), HasSubstr("12 image tokens (id 1998) and their images 13"));
  batch = TestBatch();
  batch.images = {{}, {}, kImageToken};
  EXPECT_THAT(message(*model, batch), HasSubstr("13 image tokens (id 1998) and their images 0"));
  const auto llama3 = small_model("llama3", "debugmodel");
  EXPECT_THAT(message(*llama3, TestBatch()), HasSubstr("3 images"));
}

TEST(Vlm, FlopsAreTheDecodersAndSixAParameterOfTheRest) {
  const auto flops = [](const std::string& name, const std::string& flavor) {
    return build_model({.name = name, .flavor = flavor, .seq_len = 64, .tensors = at::kMeta})
        ->flops_per_token(2048);
  };
  EXPECT_DOUBLE_EQ(flops("vlm", "debugmodel") - flops("llama3", "debugmodel"),
                   6.0 * static_cast<double>(parameter_count(*small_model()) - 6'163'712));
}

}  // namespace
}  // namespace coeus
