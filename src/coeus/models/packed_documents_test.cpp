// A document's logits do not depend on what it is packed with.
#include <gtest/gtest.h>
#include <torch/types.h>

#include "coeus/models/registry.h"

namespace coeus {
namespace {

struct Case {
  const char* model;
  const char* flavor;
  AttentionEngine engine;
  bool has_experts = false;
};

std::string name_of(const Case& c) {
  return std::string(c.model) + "_" + c.flavor + "_" + std::string(coeus::name_of(c.engine));
}

class PackedDocuments : public testing::TestWithParam<Case> {
 protected:
  PackedDocuments() {
    model_ = build_model({.name = GetParam().model,
                          .flavor = GetParam().flavor,
                          .seq_len = 96,
                          .engine = GetParam().engine,
                          .tensors = at::TensorOptions()});
    model_->init_weights(5);
  }

  at::Tensor logits(const at::Tensor& tokens, const std::vector<int64_t>& documents,
                    bool restart_positions) {
    const at::NoGradGuard no_grad;
    const std::vector<SequenceLayout> rows = {SequenceLayout::from_document_lengths(documents)};
    const TokenAttributes& attributes = *rows[0].query();
    const at::Tensor positions =
        at::tensor(restart_positions ? attributes.offset : attributes.index, at::kInt).unsqueeze(0);
    return model_->forward(tokens.unsqueeze(0), positions, model_->get_attention_masks(rows))[0];
  }

  /// Tokens that differ from one `salt` to the next.
  static at::Tensor tokens(int64_t count, int64_t salt) {
    return (at::arange(count) * 389 + salt * 71).remainder(2048);
  }

  /// Experts multiply whatever tokens they were sent as one matrix, so other tokens can change how
  /// a product is rounded.
  void expect_equal(const at::Tensor& a, const at::Tensor& b, bool same_bits) const {
    if (same_bits && !GetParam().has_experts) {
      EXPECT_TRUE(at::equal(a, b));
    }
    EXPECT_LE((a - b).abs().max().item<double>(), 2e-5);
  }

  std::shared_ptr<Model> model_;
};

TEST_P(PackedDocuments, NeighboursDoNotMatter) {
  const at::Tensor document = tokens(30, 1);
  const auto run = [&](int64_t salt, const std::vector<int64_t>& documents) {
    return logits(at::cat({tokens(40, salt), document, tokens(26, salt + 1)}), documents, false);
  };
  const at::Tensor some = run(2, {40, 30, 26}), others = run(7, {40, 30, 26});
  expect_equal(some.slice(0, 40, 70), others.slice(0, 40, 70), true);
  EXPECT_FALSE(at::equal(some.slice(0, 0, 40), others.slice(0, 0, 40)));
  const at::Tensor cut_elsewhere = run(7, {13, 27, 30, 5, 21});
  // Another mask may make `auto` take another engine, which agrees to rounding.
  expect_equal(some.slice(0, 40, 70), cut_elsewhere.slice(0, 40, 70),
               GetParam().engine != AttentionEngine::kAuto);
}

TEST_P(PackedDocuments, APackedDocumentEqualsOneAlone) {
  const at::Tensor document = tokens(30, 1);
  const at::Tensor packed =
      logits(at::cat({tokens(40, 3), document, tokens(26, 4)}), {40, 30, 26}, true);
  const at::Tensor alone = logits(document, {30}, true);
  expect_equal(packed.slice(0, 40, 70), alone, false);
}

TEST_P(PackedDocuments, WhereItsMaskEndsADocumentChanges) {
  // The same tokens in one document: the mask, and nothing else, keeps them apart.
  const at::Tensor row = at::cat({tokens(40, 3), tokens(56, 1)});
  const at::Tensor apart = logits(row, {40, 56}, false), joined = logits(row, {96}, false);
  EXPECT_GT((apart.slice(0, 40) - joined.slice(0, 40)).abs().max().item<double>(), 1e-3);
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const AttentionEngine engine : {AttentionEngine::kReference, AttentionEngine::kSdpa,
                                       AttentionEngine::kBlockSparse, AttentionEngine::kAuto}) {
    all.push_back({"llama3", "debugmodel_flex_attn", engine});
    all.push_back({"qwen3", "debugmodel_flex_attn", engine});
    all.push_back({"qwen3", "debugmodel_tied_flex_attn", engine});
    all.push_back({"qwen3", "debugmodel_moe_small_flex_attn", engine, true});
    // SDPA wants values as wide as keys.
    if (engine != AttentionEngine::kSdpa)
      all.push_back({"deepseek_v3", "debugmodel_flex_attn", engine, true});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Models, PackedDocuments, testing::ValuesIn(cases()),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace coeus
