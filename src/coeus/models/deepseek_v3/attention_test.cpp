#include "coeus/models/deepseek_v3/attention.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/mask/lower.h"
#include "coeus/nn/rope.h"
#include "coeus/ops/rope.h"

namespace coeus::deepseek_v3 {
namespace {

constexpr AttentionSizes kSizes = {.dim = 24,
                                   .n_heads = 3,
                                   .q_lora_rank = 10,
                                   .kv_lora_rank = 12,
                                   .qk_nope_head_dim = 6,
                                   .qk_rope_head_dim = 4,
                                   .v_head_dim = 5,
                                   .norm_eps = 1e-5};
constexpr double kScale = 0.4;

at::Tensor normed(const at::Tensor& x, const at::Tensor& weight) {
  return x * at::rsqrt(x.square().mean(-1, true) + kSizes.norm_eps) * weight;
}

/// The paper's formulas (arXiv 2405.04434, equations 37 to 47), one row, one head at a time.
at::Tensor plain_reading(const torch::nn::Module& layer, const at::Tensor& x,
                         const at::Tensor& table, const at::Tensor& positions) {
  const auto named = layer.named_parameters();
  const auto weight = [&](const std::string& name) { return named[name + ".weight"]; };
  const auto times = [](const at::Tensor& a, const at::Tensor& w) { return at::matmul(a, w.t()); };
  const at::Tensor q =
      kSizes.q_lora_rank > 0 && named.contains("wq_a.weight")
          ? times(normed(times(x, weight("wq_a")), weight("q_norm")), weight("wq_b"))
          : times(x, weight("wq"));
  const at::Tensor down = times(x, weight("wkv_a"));
  const at::Tensor up = times(normed(down.slice(-1, 0, 12), weight("kv_norm")), weight("wkv_b"));
  const auto rotated = [&](const at::Tensor& part) {
    return rope_reference(part.unsqueeze(2), table, positions).squeeze(2);
  };
  const at::Tensor k_rope = rotated(down.slice(-1, 12));
  const at::Tensor hidden = at::ones({x.size(1), x.size(1)}).triu(1).to(at::kBool);
  std::vector<at::Tensor> heads;
  for (int64_t h = 0; h < 3; ++h) {
    const at::Tensor of_head = q.slice(-1, 10 * h, 10 * (h + 1));
    const at::Tensor scores =
        at::matmul(of_head.slice(-1, 0, 6), up.slice(-1, 11 * h, 11 * h + 6).transpose(1, 2)) +
        at::matmul(rotated(of_head.slice(-1, 6)), k_rope.transpose(1, 2));
    heads.push_back(at::matmul(at::softmax((kScale * scores).masked_fill(hidden, -INFINITY), -1),
                               up.slice(-1, 11 * h + 6, 11 * (h + 1))));
  }
  return times(at::cat(heads, -1), weight("wo"));
}

class LatentAttention : public testing::TestWithParam<int64_t> {
 protected:
  LatentAttention() {
    AttentionSizes sizes = kSizes;
    sizes.q_lora_rank = GetParam();
    layer_ = Attention(sizes, kScale, AttentionEngine::kAuto, at::TensorOptions());
    torch::manual_seed(3);
    const at::NoGradGuard no_grad;
    for (at::Tensor& parameter : layer_->parameters()) parameter.normal_(0, 0.4);
  }

  at::Tensor run(const at::Tensor& x, int64_t from, int64_t to, nn::KeyValueCache* cache) {
    TokenAttributes all =
        *SequenceLayout::from_document_lengths(std::vector<int64_t>{x.size(1)}).query();
    const auto first = [&](int64_t begin, int64_t end) {
      const auto cut = [&](const std::vector<int32_t>& v) {
        return std::vector<int32_t>(v.begin() + begin, v.begin() + end);
      };
      return TokenAttributes{cut(all.index), cut(all.document), cut(all.offset)};
    };
    const std::vector<SequenceLayout> rows(x.size(0),
                                           SequenceLayout(first(from, to), first(0, to)));
    return layer_(x.slice(1, from, to), table_, positions_.slice(1, from, to),
                  lower(mask::causal(), rows), cache);
  }

  Attention layer_{nullptr};
  at::Tensor table_ = nn::rope_table(nn::rope_frequencies(4, 100), 16);
  at::Tensor positions_ = at::arange(9, at::kInt).unsqueeze(0).expand({2, -1}).contiguous();
  at::Tensor x_ = at::linspace(-2, 2, 2 * 9 * 24).sin().mul(3).reshape({2, 9, 24});
};

TEST_P(LatentAttention, AgreesWithThePapersFormulasForwardAndBackward) {
  const at::Tensor weight = at::linspace(-1, 1, 2 * 9 * 24).cos().reshape({2, 9, 24});
  const auto gradients = [&](const at::Tensor& out) {
    layer_->zero_grad();
    (out * weight).sum().backward();
    std::vector<at::Tensor> all;
    for (const at::Tensor& parameter : layer_->parameters())
      all.push_back(parameter.grad().clone());
    return all;
  };
  const at::Tensor got = run(x_, 0, 9, nullptr);
  const at::Tensor want = plain_reading(*layer_, x_, table_, positions_);
  EXPECT_LE((got - want).abs().max().item<double>(), 1e-4);
  const auto got_gradients = gradients(got), want_gradients = gradients(want);
  for (size_t i = 0; i < got_gradients.size(); ++i)
    EXPECT_TRUE(at::allclose(got_gradients[i], want_gradients[i], 1e-3, 1e-3)) << i;
}

TEST_P(LatentAttention, ItsCacheOfLatentsGivesTheSameTokenByToken) {
  const at::NoGradGuard no_grad;
  const at::Tensor whole = run(x_, 0, 9, nullptr);
  nn::KeyValueCache cache;
  std::vector<at::Tensor> parts;
  parts.push_back(run(x_, 0, 4, &cache));
  for (int64_t i = 4; i < 9; ++i) parts.push_back(run(x_, i, i + 1, &cache));
  EXPECT_LE((at::cat(parts, 1) - whole).abs().max().item<double>(), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(QueryLatents, LatentAttention, testing::Values(0, 10));

}  // namespace
}  // namespace coeus::deepseek_v3
