#include "coeus/ops/attention.h"

#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"

namespace coeus {
namespace {

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

TEST_P(EngineAgreement, SdpaEqualsTheReference) {
  const BlockMask mask = lowered(parse_mask(GetParam().mask), {10, 1, 26}, {37});
  for (int64_t kv_heads : {1, 2, 4}) {
    const auto got = run(AttentionEngine::kSdpa, mask, 4, kv_heads, at::kFloat);
    const auto want = run(AttentionEngine::kReference, mask, 4, kv_heads, at::kDouble);
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_LE((got[i] - want[i]).abs().max().item<double>(), 2e-5)
          << "output " << i << ", " << kv_heads << " kv heads";
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
  for (auto engine : {AttentionEngine::kReference, AttentionEngine::kSdpa})
    for (const at::Tensor& x : run(engine, nothing, 2, 2, at::kFloat))
      EXPECT_EQ(x.abs().max().item<float>(), 0.0F) << name_of(engine);
}

TEST(Attention, AutoTakesSdpaForRunsAndTheReferenceOtherwise) {
  const at::Tensor x = at::zeros({2, 37, 1, 4});
  const BlockMask packed = lowered(parse_mask("causal & document"), {37}, {9, 28});
  EXPECT_EQ(choose_attention_engine(x, x, packed).engine, AttentionEngine::kSdpa);
  EXPECT_EQ(choose_attention_engine(x, at::zeros({2, 37, 1, 3}), packed).engine,
            AttentionEngine::kReference);
  const std::vector<SequenceLayout> rows = {
      SequenceLayout::from_document_lengths(std::vector<int64_t>{4096})};
  const EngineChoice choice =
      choose_attention_engine(x, x, lower(parse_mask("sliding_window(7)"), rows));
  EXPECT_EQ(choice.engine, AttentionEngine::kReference);
  EXPECT_FALSE(choice.reason.empty());
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

TEST(Attention, ShapesThatDoNotFitAreRefused) {
  const BlockMask mask = lowered(mask::causal(), {37}, {37});
  const at::Tensor q = at::zeros({2, 37, 4, 8});
  EXPECT_THROW(attention(q, q, at::zeros({2, 36, 4, 8}), mask), Error);
  EXPECT_THROW(attention(q, at::zeros({2, 37, 3, 8}), at::zeros({2, 37, 3, 8}), mask), Error);
  EXPECT_THROW(attention(q, q.to(at::kDouble), q, mask), Error);
  EXPECT_THROW(attention(q.slice(1, 0, 36), q, q, mask), Error);
}

TEST(Attention, EngineNamesReadBack) {
  for (auto engine : {AttentionEngine::kAuto, AttentionEngine::kReference, AttentionEngine::kSdpa})
    EXPECT_EQ(attention_engine_from_name(name_of(engine)), engine);
  EXPECT_THROW(attention_engine_from_name("flex"), ConfigError);
}

}  // namespace
}  // namespace coeus
