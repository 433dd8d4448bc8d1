#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

#include "coeus/mask/lower.h"
#include "coeus/ops/attention_report.h"

namespace coeus {
namespace {

BlockMask packed() {
  return lower(parse_mask("causal & document"),
               std::vector{SequenceLayout::from_document_lengths(std::vector<int64_t>{30, 40})});
}

struct Outcome {
  at::Tensor out, grad_q, grad_k, grad_v;
};

Outcome run(at::ScalarType dtype, const BlockMask& mask, const AttentionOptions& options) {
  torch::manual_seed(2);
  at::Tensor q = at::randn({1, 70, 4, 16}).to(dtype).requires_grad_();
  at::Tensor k = at::randn({1, 70, 2, 16}).to(dtype).requires_grad_();
  at::Tensor v = at::randn({1, 70, 2, 16}).to(dtype).requires_grad_();
  const at::Tensor out = attention(q, k, v, mask, options);
  out.backward(at::randn(out.sizes()).to(dtype));
  return {out.detach(), q.grad(), k.grad(), v.grad()};
}

TEST(AttentionCheck, ChangesNoBitOfWhatAutoComputes) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Outcome plain = run(dtype, packed(), {});
    const Outcome checked =
        run(dtype, packed(),
            {.engine = AttentionEngine::kCheck, .report = std::make_shared<AttentionReport>()});
    EXPECT_TRUE(at::equal(plain.out, checked.out));
    EXPECT_TRUE(at::equal(plain.grad_q, checked.grad_q));
    EXPECT_TRUE(at::equal(plain.grad_k, checked.grad_k));
    EXPECT_TRUE(at::equal(plain.grad_v, checked.grad_v));
  }
}

TEST(AttentionCheck, ReportsTheRoundingOfEachLayerForwardAndBackward) {
  const auto report = std::make_shared<AttentionReport>();
  run(at::kBFloat16, packed(),
      {.engine = AttentionEngine::kCheck, .report = report, .layer = "low"});
  run(at::kFloat, packed(), {.engine = AttentionEngine::kCheck, .report = report, .layer = "high"});
  run(at::kFloat, packed(), {.engine = AttentionEngine::kCheck, .report = report, .layer = "high"});
  const auto layers = report->layers();
  ASSERT_EQ(layers.size(), 2U);
  EXPECT_EQ(layers[0].layer, "low");
  EXPECT_EQ(layers[0].forward_checks, 1);
  EXPECT_EQ(layers[1].backward_checks, 2);
  const auto values = [](const AttentionDifference& d) {
    return std::array{d.output, d.grad_q, d.grad_k, d.grad_v};
  };
  for (const double low : values(layers[0].worst)) {
    EXPECT_GT(low, 1e-4);
    EXPECT_LT(low, 3e-2);
  }
  for (const double high : values(layers[1].worst)) EXPECT_LT(high, 1e-5);
  EXPECT_EQ(report->worst().output, layers[0].worst.output);
}

TEST(AttentionCheck, SaysSoWhenAnEngineGivesNaN) {
  const auto report = std::make_shared<AttentionReport>();
  const at::Tensor q = at::full({1, 70, 1, 8}, std::nan(""));
  attention(q, q, q, packed(),
            {.engine = AttentionEngine::kCheck, .report = report, .layer = "first"});
  EXPECT_TRUE(std::isnan(report->worst().output));
}

TEST(AttentionReport, KeepsTheEngineOfEachLayersFirstCall) {
  const auto report = std::make_shared<AttentionReport>();
  run(at::kFloat, packed(),
      {.engine = AttentionEngine::kReference, .report = report, .layer = "layers.0.attention"});
  run(at::kFloat, packed(),
      {.engine = AttentionEngine::kSdpa, .report = report, .layer = "layers.0.attention"});
  const auto layers = report->layers();
  ASSERT_EQ(layers.size(), 1U);
  EXPECT_EQ(layers[0].choice.engine, AttentionEngine::kReference);
  EXPECT_EQ(layers[0].forward_checks, 0);
}

}  // namespace
}  // namespace coeus
