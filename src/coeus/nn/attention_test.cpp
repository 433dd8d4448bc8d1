#include "coeus/nn/attention.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

#include "coeus/mask/lower.h"
#include "coeus/nn/rope.h"

namespace coeus::nn {
namespace {

constexpr int64_t kTokens = 12;
constexpr AttentionSizes kSizes = {.dim = 16, .n_heads = 2, .n_kv_heads = 1, .head_dim = 8};

Attention attention(const AttentionSizes& sizes, double q_factor = 1) {
  Attention layer(sizes, AttentionEngine::kReference, at::TensorOptions());
  layer->init_weights(3, "attention", 0.3);
  const at::NoGradGuard no_grad;
  layer->wq->weight.mul_(10 * q_factor);
  layer->wk->weight.mul_(10);
  return layer;
}

/// Of tokens that stand `first` places and further into their row.
at::Tensor output(Attention layer, int64_t first, bool all_there = false) {
  torch::manual_seed(5);
  const at::NoGradGuard no_grad;
  const at::Tensor x = at::randn({1, kTokens, kSizes.dim});
  const at::Tensor steps = all_there ? at::zeros({kTokens}) : at::arange(kTokens);
  const at::Tensor positions = (steps + first).to(at::kInt).unsqueeze(0);
  const std::vector<SequenceLayout> rows = {SequenceLayout::from_document_lengths({{kTokens}})};
  const at::Tensor table =
      rope_table({.head_dim = kSizes.head_dim, .max_positions = 64, .scaling = std::nullopt});
  return layer(x, table, positions, lower(mask::causal(), rows));
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST(Attention, WithoutRotaryPositionsSeesNone) {
  AttentionSizes sizes = kSizes;
  sizes.use_rope = false;
  EXPECT_TRUE(at::equal(output(attention(sizes), 0), output(attention(sizes), 7)));
  EXPECT_GT(difference(output(attention(kSizes), 0), output(attention(sizes), 0)), 1e-3);
}

TEST(Attention, TemperatureMultipliesTheQueryOfAPosition) {
  AttentionSizes sizes = kSizes;
  sizes.use_rope = false;
  AttentionSizes tuned = sizes;
  tuned.temperature = {.scale = 0.5, .floor_scale = 4};
  for (const int64_t position : {2, 3, 30}) {
    const double factor = 1 + 0.5 * std::log(1.0 + static_cast<double>((position + 1) / 4));
    EXPECT_LT(difference(output(attention(tuned), position, true),
                         output(attention(sizes, factor), position, true)),
              1e-5);
  }
}

TEST(Attention, NormedQueriesHaveNoLength) {
  AttentionSizes normed = kSizes;
  normed.qk_norm_eps = 1e-12;
  EXPECT_LT(difference(output(attention(normed), 0), output(attention(normed, 3), 0)), 1e-5);
  EXPECT_GT(difference(output(attention(kSizes), 0), output(attention(kSizes, 3), 0)), 1e-3);
}

}  // namespace
}  // namespace coeus::nn
