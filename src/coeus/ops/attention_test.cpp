#include "coeus/ops/attention.h"

#include <ATen/autocast_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// A batch of two rows of 37 tokens in documents of the given lengths.
BlockMask lowered(const Mask& mask, const std::vector<int64_t>& first,
                  const std::vector<int64_t>& second) {
  const std::vector<SequenceLayout> rows = {SequenceLayout::from_document_lengths(first),
                                            SequenceLayout::from_document_lengths(second)};
  return lower(mask, rows);
}

std::vector<at::Tensor> run(AttentionEngine engine, const BlockMask& mask, int64_t heads,
                            int64_t kv_heads, at::ScalarType dtype) {
  torch::manual_seed(3);
  const int64_t batch = mask.batch_size(), length = mask.query_length();
  at::Tensor q = at::randn({batch, length, heads, 16}).to(dtype).requires_grad_();
  at::Tensor k = at::randn({batch, length, kv_heads, 16}).to(dtype).requires_grad_();
  at::Tensor v = at::randn({batch, length, kv_heads, 16}).to(dtype).requires_grad_();
  const at::Tensor out = attention(q, k, v, mask, {.engine = engine});
  (out * at::randn(out.sizes()).to(dtype)).sum().backward();
  return {out.detach(), q.grad(), k.grad(), v.grad()};
}

struct Case {
  const char* name;
  const char* mask;
};

class EngineAgreement : public testing::TestWithParam<Case> {};

TEST_P(EngineAgreement, FastEnginesEqualTheReference) {
  const BlockMask mask = lowered(parse_mask(GetParam().mask), {10, 1, 26}, {37});
  for (int64_t kv_heads : {1, 2, 4}) {
    const auto want = run(AttentionEngine::kReference, mask, 4, kv_heads, at::kDouble);
    for (auto engine : {AttentionEngine::kSdpa, AttentionEngine::kBlockSparse}) {
      const auto got = run(engine, mask, 4, kv_heads, at::kFloat);
      for (size_t i = 0; i < want.size(); ++i)
        EXPECT_LE((got[i] - want[i]).abs().max().item<double>(), 2e-5)
            << name_of(engine) << ", output " << i << ", " << kv_heads << " kv heads";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Masks, EngineAgreement,
                         testing::Values(Case{"causal", "causal"}, Case{"full", "full"},
                                         Case{"document", "document"},
                                         Case{"packed", "causal & document"},
                                         Case{"chunked", "causal & document & chunk(8)"}),
                         [](const auto& info) { return info.param.name; });

TEST(Attention, DocumentsDoNotSeeEachOther) {
  const BlockMask packed = lowered(parse_mask("causal & document"), {20, 17}, {20, 17});
  torch::manual_seed(5);
  at::Tensor q = at::randn({2, 37, 2, 8}), k = at::randn({2, 37, 2, 8}),
             v = at::randn({2, 37, 2, 8});
  const at::Tensor before = attention(q, k, v, packed);
  k.slice(1, 0, 20).normal_();
  v.slice(1, 0, 20).normal_();
  const at::Tensor after = attention(q, k, v, packed);
  EXPECT_TRUE(at::equal(after.slice(1, 20), before.slice(1, 20)));
  EXPECT_FALSE(at::equal(after.slice(1, 0, 20), before.slice(1, 0, 20)));
}

TEST(Attention, AQueryThatSeesNothingGetsZeroAndZeroGradients) {
  const BlockMask nothing = lowered(parse_mask("causal & ~causal"), {37}, {37});
  for (auto engine :
       {AttentionEngine::kReference, AttentionEngine::kSdpa, AttentionEngine::kBlockSparse})
    for (const at::Tensor& x : run(engine, nothing, 2, 2, at::kFloat))
      EXPECT_EQ(x.abs().max().item<float>(), 0.0F) << name_of(engine);
}

TEST(Attention, AutoTakesWhatTheCostModelFindsCheapestAndSaysSo) {
  const std::vector<SequenceLayout> rows = {
      SequenceLayout::from_document_lengths(std::vector<int64_t>{4096})};
  const at::Tensor x = at::zeros({1, 4096, 2, 16});
  const EngineChoice window =
      choose_attention_engine(x, x, lower(parse_mask("sliding_window(7)"), rows));
  EXPECT_EQ(window.engine, AttentionEngine::kBlockSparse);
  EXPECT_THAT(window.reason, AllOf(HasSubstr("block_sparse "), HasSubstr("reference "),
                                   HasSubstr("not sdpa: the mask is no short list"),
                                   HasSubstr("0.2% of the pairs visible")));
  const BlockMask causal = lower(parse_mask("causal"), rows);
  EXPECT_THAT(choose_attention_engine(x, x, causal).reason, HasSubstr("sdpa "));
  EXPECT_THAT(choose_attention_engine(x, at::zeros({1, 4096, 2, 24}), causal).reason,
              HasSubstr("not sdpa: keys are 16 wide and values 24"));
}

TEST(Attention, AutoTakesTheReferenceWhereNothingElseWorks) {
  const std::vector<SequenceLayout> rows = {
      SequenceLayout::from_document_lengths(std::vector<int64_t>{4096})};
  const BlockMask window = lower(parse_mask("sliding_window(7)"), rows);
  const at::Tensor elsewhere = at::zeros({1, 4096, 2, 16}, at::kMeta);
  EXPECT_EQ(choose_attention_engine(elsewhere, elsewhere, window).engine,
            AttentionEngine::kReference);
  EXPECT_THAT(choose_attention_engine(elsewhere, elsewhere, window).reason, HasSubstr("meta"));
  const at::Tensor half = at::zeros({1, 4096, 2, 16}, at::kHalf);
  EXPECT_EQ(choose_attention_engine(half, half, window).engine, AttentionEngine::kReference);
  const at::Tensor wide = at::zeros({1, 4096, 1, 264});
  EXPECT_EQ(choose_attention_engine(wide, wide, window).engine, AttentionEngine::kReference);
}

TEST(Attention, TheReferenceIsNotRoundedByAutocast) {
  const BlockMask mask = lowered(mask::causal(), {37}, {37});
  torch::manual_seed(3);
  const at::Tensor q = at::randn({2, 37, 2, 8});
  const at::Tensor want = attention(q, q, q, mask, {.engine = AttentionEngine::kReference});
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const at::Tensor got = attention(q, q, q, mask, {.engine = AttentionEngine::kReference});
  at::autocast::set_autocast_enabled(at::kCPU, false);
  at::autocast::clear_cache();
  EXPECT_TRUE(at::equal(got, want));
}

TEST(Attention, SdpaRefusesAMaskThatIsNoListOfRuns) {
  const std::vector<SequenceLayout> rows = {
      SequenceLayout::from_document_lengths(std::vector<int64_t>{4096})};
  const at::Tensor x = at::zeros({1, 4096, 1, 4});
  EXPECT_THROW(attention(x, x, x, lower(parse_mask("sliding_window(7)"), rows),
                         {.engine = AttentionEngine::kSdpa}),
               Error);
}

/// The message of the Error that attention on these must throw.
std::string complaint(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                      const BlockMask& mask, AttentionEngine engine = AttentionEngine::kAuto) {
  try {
    attention(q, k, v, mask, {.engine = engine});
  } catch (const Error& error) {
    return error.what();
  }
  return "no complaint";
}

TEST(Attention, WhatDoesNotFitTogetherIsRefusedWithItsValues) {
  const BlockMask mask = lowered(mask::causal(), {37}, {37});
  const at::Tensor q = at::zeros({2, 37, 4, 8});
  EXPECT_THAT(complaint(q, q, at::zeros({2, 36, 4, 8}), mask),
              AllOf(HasSubstr("[attention] shapes do not fit"), HasSubstr("[2, 36, 4, 8]")));
  const at::Tensor three_heads = at::zeros({2, 37, 3, 8});
  EXPECT_THAT(complaint(q, three_heads, three_heads, mask),
              HasSubstr("[attention] 4 query heads cannot be shared among 3 key heads"));
  EXPECT_THAT(complaint(q, q.to(at::kDouble), q, mask),
              HasSubstr("one floating-point dtype, got Float, Double and Float"));
  EXPECT_THAT(complaint(q.flatten(2), q, q, mask), HasSubstr("[2, 37, 32]"));
  EXPECT_THAT(complaint(q, q.to(at::kMeta), q, mask), HasSubstr("got cpu, meta and cpu"));
}

TEST(Attention, AMaskForAnotherLengthOrBatchIsRefusedWithBothSizes) {
  const BlockMask mask = lowered(mask::causal(), {37}, {37});
  const at::Tensor q = at::zeros({2, 37, 4, 8});
  EXPECT_THAT(complaint(q.slice(1, 0, 36), q, q, mask),
              AllOf(HasSubstr("the mask is for 2 rows of 37 queries and 37 keys"),
                    HasSubstr("q is [2, 36, 4, 8]")));
  const at::Tensor keys = q.slice(1, 0, 36);
  EXPECT_THAT(complaint(q, keys, keys, mask), HasSubstr("k [2, 36, 4, 8]"));
  EXPECT_THAT(complaint(q, q, q, mask.slice_rows(0, 1)), HasSubstr("the mask is for 1 rows"));
}

TEST(Attention, ADtypeOrDeviceThatAnEngineLacksIsRefusedByName) {
  const BlockMask mask = lowered(mask::causal(), {37}, {37});
  const at::Tensor q = at::zeros({2, 37, 4, 8});
  const at::Tensor whole = q.to(at::kInt);
  EXPECT_THAT(complaint(whole, whole, whole, mask), HasSubstr("got Int, Int and Int"));
  const at::Tensor half = q.to(at::kHalf);
  EXPECT_THAT(complaint(half, half, half, mask, AttentionEngine::kBlockSparse),
              AllOf(HasSubstr("block_sparse takes float32, bfloat16 and double"),
                    HasSubstr("got Half on cpu")));
  const at::Tensor elsewhere = q.to(at::kMeta);
  EXPECT_THAT(complaint(elsewhere, elsewhere, elsewhere, mask, AttentionEngine::kBlockSparse),
              HasSubstr("got Float on meta"));
  EXPECT_THAT(complaint(elsewhere, elsewhere, elsewhere, mask, AttentionEngine::kSdpa),
              HasSubstr("sdpa takes tensors of the CPU and of CUDA, got meta"));
  const at::Tensor wide = at::zeros({2, 37, 1, 264});
  EXPECT_THAT(complaint(wide, wide, wide, mask, AttentionEngine::kBlockSparse),
              HasSubstr("head dims up to 256"));
}

TEST(Attention, EngineNamesReadBack) {
  for (auto engine : {AttentionEngine::kAuto, AttentionEngine::kReference, AttentionEngine::kSdpa,
                      AttentionEngine::kBlockSparse, AttentionEngine::kCheck})
    EXPECT_EQ(attention_engine_from_name(name_of(engine)), engine);
  EXPECT_THROW(attention_engine_from_name("flex"), ConfigError);
}

}  // namespace
}  // namespace coeus
