#include "coeus/ops/attention_part.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <limits>

#include "coeus/mask/lower.h"
#include "coeus/mask/select.h"

namespace coeus {
namespace {

constexpr double kScale = 0.3;

struct Inputs {
  at::Tensor q, k, v, grad_out;
};

Inputs inputs_of(int64_t tokens) {
  torch::manual_seed(1);
  const auto random = [&](int64_t heads) { return at::randn({1, tokens, heads, 8}, at::kDouble); };
  return {random(4), random(2), random(2), random(4)};
}

/// Output and gradients of attention over all keys at once.
AttentionGradients gradients_of(const Inputs& x, const BlockMask& mask, at::Tensor& out) {
  const auto leaf = [](const at::Tensor& t) { return t.clone().requires_grad_(); };
  const at::Tensor q = leaf(x.q), k = leaf(x.k), v = leaf(x.v);
  out = attention_reference(q, k, v, mask, kScale);
  out.backward(x.grad_out);
  return {q.grad(), k.grad(), v.grad()};
}

/// The mask over keys [begin, end) alone.
BlockMask over_keys(const Mask& mask, const SequenceLayout& layout, int64_t begin, int64_t end) {
  const std::vector<SequenceLayout> rows = {select_keys(layout, begin, end)};
  return lower(mask, rows, {16, 16});
}

/// Attention in parts of `step` keys, each by `engine`, against attention over all.
void expect_parts_make_the_whole(AttentionEngine engine, const Mask& mask, int64_t step) {
  const int64_t tokens = 40;
  const auto layout = SequenceLayout::from_document_lengths(std::vector<int64_t>{25, 15});
  const Inputs x = inputs_of(tokens);
  at::Tensor want_out;
  const AttentionGradients want = gradients_of(x, over_keys(mask, layout, 0, tokens), want_out);

  AttentionPart sum;
  for (int64_t begin = 0; begin < tokens; begin += step)
    sum = merged(sum,
                 attention_part(engine, x.q, x.k.narrow(1, begin, step), x.v.narrow(1, begin, step),
                                over_keys(mask, layout, begin, begin + step), kScale));
  EXPECT_LE((sum.out - want_out).abs().max().item<double>(), 1e-12);

  at::Tensor grad_q = at::zeros_like(x.q);
  for (int64_t begin = 0; begin < tokens; begin += step) {
    const AttentionGradients got = attention_part_backward(
        engine, x.grad_out, x.q, x.k.narrow(1, begin, step), x.v.narrow(1, begin, step), sum.out,
        sum.lse, over_keys(mask, layout, begin, begin + step), kScale);
    grad_q.add_(got.q);
    EXPECT_LE((got.k - want.k.narrow(1, begin, step)).abs().max().item<double>(), 1e-12);
    EXPECT_LE((got.v - want.v.narrow(1, begin, step)).abs().max().item<double>(), 1e-12);
  }
  EXPECT_LE((grad_q - want.q).abs().max().item<double>(), 1e-12);
}

TEST(AttentionPart, PartsMakeTheWholeByReferenceAndBlockSparse) {
  for (const AttentionEngine engine : {AttentionEngine::kReference, AttentionEngine::kBlockSparse})
    for (const char* const mask : {"causal", "causal & document", "full", "causal & dilated(3)"})
      for (const int64_t step : {40, 20, 8})
        expect_parts_make_the_whole(engine, parse_mask(mask), step);
}

TEST(AttentionPart, PartsMakeTheWholeByFlashAttention) {
  expect_parts_make_the_whole(AttentionEngine::kSdpa, mask::full(), 8);
  expect_parts_make_the_whole(AttentionEngine::kSdpa, parse_mask("causal & document"), 40);
}

TEST(AttentionPart, WhatNobodySeesIsZeroWithoutNan) {
  const Inputs x = inputs_of(8);
  const auto layout = SequenceLayout::from_document_lengths(std::vector<int64_t>{8});
  const BlockMask nothing = over_keys(~mask::full(), layout, 0, 8);
  for (const AttentionEngine engine :
       {AttentionEngine::kReference, AttentionEngine::kBlockSparse}) {
    const AttentionPart part = attention_part(engine, x.q, x.k, x.v, nothing, kScale);
    const AttentionPart sum = merged(part, part);
    EXPECT_TRUE(at::equal(sum.out, at::zeros_like(sum.out)));
    EXPECT_TRUE(
        at::equal(sum.lse, at::full_like(sum.lse, -std::numeric_limits<double>::infinity())));
    const AttentionGradients of = attention_part_backward(engine, x.grad_out, x.q, x.k, x.v,
                                                          sum.out, sum.lse, nothing, kScale);
    for (const at::Tensor& grad : {of.q, of.k, of.v})
      EXPECT_TRUE(at::equal(grad, at::zeros_like(grad)));
  }
}

}  // namespace
}  // namespace coeus
