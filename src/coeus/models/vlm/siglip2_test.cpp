#include "coeus/models/vlm/siglip2.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"
#include "coeus/models/vlm/hugging_face.h"
#include "coeus/models/vlm/masks.h"

namespace coeus::vlm {
namespace {

using testing::HasSubstr;

Siglip2Sizes small_sizes() {
  return {.dim = 32, .ffn_dim = 48, .n_layers = 2, .n_heads = 2, .n_pos_embs = 4, .patch_size = 4};
}

std::shared_ptr<VisionTransformer> small_encoder(AttentionEngine engine = AttentionEngine::kAuto) {
  auto encoder = std::make_shared<VisionTransformer>(small_sizes(), engine, at::TensorOptions());
  encoder->init_weights(3, "encoder");
  return encoder;
}

/// An image of its own: patches [1, rows * columns, patch_dim].
at::Tensor patches_of(const ImageGrid& grid, int64_t salt) {
  torch::manual_seed(salt);
  return at::randn({1, grid.patches(), small_sizes().patch_dim()});
}

AttentionMasks masks_for(const std::vector<ImageGrid>& grids) {
  std::vector<int64_t> lengths;
  for (const ImageGrid& grid : grids) lengths.push_back(grid.patches());
  return get_image_masks(document_masks(), SequenceLayout::from_document_lengths(lengths));
}

at::Tensor encode(VisionTransformer& encoder, const std::vector<at::Tensor>& images,
                  const std::vector<ImageGrid>& grids) {
  const at::NoGradGuard no_grad;
  return encoder.forward(at::cat(images, 1), grids, masks_for(grids))[0];
}

/// How much each of `in` places weighs in each of `out`: a triangle as wide as two of the larger
/// pixels, about the middle of the output's pixel, cut off at the edges.
std::vector<std::vector<double>> triangle_weights(int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double width = std::max(scale, 1.0);
  std::vector<std::vector<double>> weights;
  for (int64_t i = 0; i < out; ++i) {
    const double middle = scale * (static_cast<double>(i) + 0.5);
    std::vector<double> row;
    double sum = 0;
    for (int64_t j = 0; j < in; ++j) {
      const double distance = std::abs(static_cast<double>(j) + 0.5 - middle) / width;
      row.push_back(std::max(0.0, 1 - distance));
      sum += row.back();
    }
    for (double& weight : row) weight /= sum;
    weights.push_back(row);
  }
  return weights;
}

TEST(Siglip2, PositionEmbeddingsAreResizedByTriangles) {
  constexpr int64_t kSide = 6, kDim = 3;
  torch::manual_seed(1);
  const at::Tensor table = at::randn({kSide * kSide, kDim});
  for (const ImageGrid& grid : {ImageGrid{6, 6}, ImageGrid{1, 1}, ImageGrid{2, 9}, ImageGrid{13, 4},
                                ImageGrid{9, 1}, ImageGrid{20, 20}}) {
    const auto rows = triangle_weights(kSide, grid.rows);
    const auto columns = triangle_weights(kSide, grid.columns);
    const at::Tensor resized = resized_position_embeddings(table, kSide, grid);
    ASSERT_EQ(resized.sizes(), at::IntArrayRef({grid.patches(), kDim}));
    for (int64_t place = 0; place < grid.patches(); ++place) {
      at::Tensor expected = at::zeros({kDim}, at::kDouble);
      for (int64_t i = 0; i < kSide; ++i)
        for (int64_t j = 0; j < kSide; ++j)
          expected += table[i * kSide + j].to(at::kDouble) * rows[place / grid.columns][i] *
                      columns[place % grid.columns][j];
      EXPECT_LE((resized[place] - expected).abs().max().item<double>(), 1e-5)
          << grid.rows << " x " << grid.columns << ", place " << place;
    }
  }
}

TEST(Siglip2, ASquareOfTheTablesOwnSizeIsTheTable) {
  const at::Tensor table = at::randn({16, 5});
  EXPECT_TRUE(at::equal(resized_position_embeddings(table, 4, {4, 4}), table));
}

TEST(Siglip2, AnImageSeesItselfAlone) {
  const AttentionMasks masks = masks_for({{2, 3}, {1, 4}});
  const BlockMask& mask = masks.at(kEncoderMaskName);
  EXPECT_EQ(mask.area(), 6 * 6 + 4 * 4);
  EXPECT_TRUE(mask.sees(0, 0, 5));
  EXPECT_FALSE(mask.sees(0, 0, 6));
  EXPECT_TRUE(mask.sees(0, 6, 9));
}

class EncodingOf : public testing::TestWithParam<AttentionEngine> {};

TEST_P(EncodingOf, AnImageIsTheSameWhateverItIsPackedWith) {
  const auto encoder = small_encoder(GetParam());
  const ImageGrid grid{5, 3}, before{2, 4}, after{7, 7};
  const at::Tensor image = patches_of(grid, 1);
  const auto packed = [&](int64_t salt) {
    return encode(*encoder, {patches_of(before, salt), image, patches_of(after, salt + 1)},
                  {before, grid, after})
        .slice(0, before.patches(), before.patches() + grid.patches());
  };
  const at::Tensor some = packed(2);
  EXPECT_TRUE(at::equal(some, packed(7)));
  // Alone its rows are multiplied in smaller matrices.
  const at::Tensor alone = encode(*encoder, {image}, {grid});
  EXPECT_LE((some - alone).abs().max().item<double>(), 1e-5);
  const at::Tensor twice = encode(*encoder, {image, image}, {grid, grid});
  EXPECT_LE((twice.slice(0, 0, 15) - twice.slice(0, 15)).abs().max().item<double>(), 1e-5);
}

TEST_P(EncodingOf, AnImageDependsOnItsGrid) {
  const auto encoder = small_encoder(GetParam());
  const at::Tensor image = patches_of({5, 3}, 1);
  const at::Tensor wide = encode(*encoder, {image}, {{3, 5}});
  const at::Tensor tall = encode(*encoder, {image}, {{5, 3}});
  EXPECT_GT((wide - tall).abs().max().item<double>(), 0.1);
}

INSTANTIATE_TEST_SUITE_P(Engines, EncodingOf,
                         testing::Values(AttentionEngine::kReference, AttentionEngine::kSdpa,
                                         AttentionEngine::kBlockSparse, AttentionEngine::kAuto),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(Siglip2, EnginesAgree) {
  const std::vector<ImageGrid> grids = {{5, 3}, {2, 2}, {9, 8}};
  std::vector<at::Tensor> images;
  for (const ImageGrid& grid : grids) images.push_back(patches_of(grid, grid.rows));
  const at::Tensor expected = encode(*small_encoder(AttentionEngine::kReference), images, grids);
  for (const AttentionEngine engine : {AttentionEngine::kSdpa, AttentionEngine::kBlockSparse})
    EXPECT_LE((encode(*small_encoder(engine), images, grids) - expected).abs().max().item<double>(),
              1e-5);
}

TEST(Siglip2, RecomputedLayersGiveTheSameGradients) {
  const std::vector<ImageGrid> grids = {{5, 3}, {2, 2}};
  const at::Tensor patches = at::cat({patches_of(grids[0], 1), patches_of(grids[1], 2)}, 1);
  const auto gradients = [&](bool recompute) {
    const auto encoder = small_encoder();
    for (const auto& layer : encoder->layers()) layer->set_recompute(recompute);
    const AttentionMasks masks = masks_for(grids);
    encoder->forward(patches, grids, masks).square().sum().backward();
    std::vector<at::Tensor> all;
    for (const at::Tensor& parameter : encoder->parameters()) all.push_back(parameter.grad());
    return all;
  };
  const auto kept = gradients(false), recomputed = gradients(true);
  ASSERT_EQ(kept.size(), recomputed.size());
  for (size_t i = 0; i < kept.size(); ++i) {
    ASSERT_TRUE(kept[i].defined());
    EXPECT_TRUE(at::equal(kept[i], recomputed[i])) << i;
  }
}

TEST(Siglip2, TheFeedForwardLayerTakesGelusTanhForm) {
  VisionFeedForward layer(small_sizes(), at::TensorOptions());
  layer.init_weights(1, "mlp");
  const at::NoGradGuard no_grad;
  for (at::Tensor& parameter : layer.parameters()) parameter.mul_(20).add_(0.1);
  const auto parameters = layer.named_parameters();
  const at::Tensor x = at::randn({5, 32});
  const at::Tensor h = at::linear(x, parameters["fc1.weight"], parameters["fc1.bias"]);
  const at::Tensor inner = std::sqrt(2 / M_PI) * (h + 0.044715 * h.pow(3));
  const at::Tensor expected =
      at::linear(0.5 * h * (1 + inner.tanh()), parameters["fc2.weight"], parameters["fc2.bias"]);
  EXPECT_TRUE(at::allclose(layer.forward(x), expected, 1e-5, 1e-5));
}

TEST(Siglip2, InitialWeightsFollowTorchTitansRules) {
  VisionTransformer encoder({.dim = 128, .ffn_dim = 256, .n_layers = 1, .n_heads = 2},
                            AttentionEngine::kAuto, at::TensorOptions());
  encoder.init_weights(1, "encoder");
  for (const auto& item : encoder.named_parameters()) {
    const at::Tensor values = item.value().detach();
    const std::string& name = item.key();
    if (name.ends_with("bias")) {
      EXPECT_TRUE(at::equal(values, at::zeros_like(values))) << name;
    } else if (name.find("norm") != std::string::npos) {
      EXPECT_TRUE(at::equal(values, at::ones_like(values))) << name;
    } else {
      const double std = name.find("position") != std::string::npos ? 1.0 : 0.02;
      EXPECT_NEAR(values.std().item<double>(), std, 0.03 * std) << name;
    }
  }
}

TEST(Siglip2, PatchesThatDoNotFitAreRefused) {
  const auto encoder = small_encoder();
  const auto message = [&](const at::Tensor& patches, const std::vector<ImageGrid>& grids) {
    try {
      encoder->forward(patches, grids, masks_for(grids));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(message(at::zeros({1, 6, 47}), {{2, 3}}), HasSubstr("[1, patches, 48]"));
  EXPECT_THAT(message(at::zeros({1, 7, 48}), {{2, 3}}), HasSubstr("have 6 patches, but 7"));
  EXPECT_THAT(message(at::zeros({1, 0, 48}), {{0, 3}}), HasSubstr("0 x 3"));
}

TEST(Siglip2, IsWrittenAndReadUnderHuggingFacesNames) {
  const TemporaryFolder folder;
  const auto format = siglip2_hugging_face_format(small_sizes());
  const auto tensors_of = [](const VisionTransformer& encoder) {
    NamedTensors tensors;
    for (const auto& item : encoder.named_parameters())
      tensors.emplace_back(item.key(), item.value().detach());
    return tensors;
  };
  const auto encoder = small_encoder();
  write_hugging_face_folder(posix_file_system(), folder.path(), format,
                            native_weights_of(tensors_of(*encoder)), {});
  const auto config = nlohmann::json::parse(file_text(folder / "config.json"));
  const auto read = std::make_shared<VisionTransformer>(
      siglip2_sizes_from_hugging_face(config), AttentionEngine::kAuto, at::TensorOptions());
  const NamedTensors tensors = tensors_of(*read);
  HuggingFaceWeights(posix_file_system(), folder.path(), format, shapes_of(tensors), {})
      .fill(tensors);
  const ImageGrid grid{3, 2};
  EXPECT_TRUE(at::equal(encode(*read, {patches_of(grid, 1)}, {grid}),
                        encode(*encoder, {patches_of(grid, 1)}, {grid})));
}

TEST(Siglip2, AConfigOfAnotherTowerIsRefused) {
  EXPECT_THROW(siglip2_sizes_from_hugging_face({{"num_patches", 255}}), ConfigError);
  EXPECT_THROW(siglip2_sizes_from_hugging_face({{"hidden_act", "gelu"}}), ConfigError);
  const Siglip2Sizes sizes = siglip2_sizes_from_hugging_face(
      {{"vision_config", {{"hidden_size", 1152}, {"num_attention_heads", 16}}}});
  EXPECT_EQ(sizes.head_dim(), 72);
}

}  // namespace
}  // namespace coeus::vlm
