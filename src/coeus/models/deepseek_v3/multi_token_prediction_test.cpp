#include "coeus/models/deepseek_v3/multi_token_prediction.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/models/deepseek_v3/model.h"
#include "coeus/models/registry.h"
#include "coeus/ops/cross_entropy.h"

namespace coeus {
namespace {

std::shared_ptr<Model> small_model(int64_t depths) {
  auto model = build_model({.name = "deepseek_v3",
                            .flavor = "debugmodel_flex_attn",
                            .seq_len = 32,
                            .num_mtp_layers = depths,
                            .tensors = at::TensorOptions()});
  model->init_weights(1);
  return model;
}

/// A row of two documents, positions restarting in the second.
struct Row {
  at::Tensor tokens = (at::arange(24) * 389).remainder(2048).unsqueeze(0);
  at::Tensor labels = (at::arange(1, 25) * 389).remainder(2048).unsqueeze(0);
  at::Tensor positions = at::cat({at::arange(10, at::kInt), at::arange(14, at::kInt)}).unsqueeze(0);
  std::vector<SequenceLayout> layout = {
      SequenceLayout::from_document_lengths(std::vector<int64_t>{10, 14})};

  double loss(Model& model) const {
    const at::NoGradGuard no_grad;
    return model.loss_sum(tokens, labels, positions, model.get_attention_masks(layout))
        .item<double>();
  }
  at::Tensor logits(Model& model) const {
    const at::NoGradGuard no_grad;
    return model.forward(tokens, positions, model.get_attention_masks(layout));
  }
};

TEST(ShiftedLeft, FillsWhatWouldCrossADocumentOrTheEnd) {
  const at::Tensor sequence = at::tensor({10, 11, 12, 20, 21}).unsqueeze(0);
  const at::Tensor positions = at::tensor({0, 1, 2, 0, 1}, at::kInt).unsqueeze(0);
  const auto by_one = deepseek_v3::shifted_left(sequence, positions, 1, -1);
  EXPECT_TRUE(at::equal(by_one.first[0], at::tensor({11, 12, -1, 21, -1})));
  EXPECT_TRUE(at::equal(by_one.second[0], at::tensor({1, 1, 0, 1, 0}).to(at::kBool)));
  const auto by_two = deepseek_v3::shifted_left(sequence, positions, 2, -1);
  EXPECT_TRUE(at::equal(by_two.first[0], at::tensor({12, -1, -1, -1, -1})));
  const auto past_the_end = deepseek_v3::shifted_left(sequence, positions, 5, -1);
  EXPECT_TRUE(at::equal(past_the_end.first[0], at::full({5}, -1, at::kLong)));
  EXPECT_THROW(deepseek_v3::shifted_left(sequence, positions, 0, -1), Error);
}

TEST(MultiTokenPrediction, LayersHaveTorchTitansNames) {
  const auto model = small_model(2);
  std::vector<std::string> names;
  for (const auto& [name, parameter] : named_parameters_of(*model)) names.push_back(name);
  for (const char* name : {"mtp_layers.0.enorm.weight", "mtp_layers.1.hnorm.weight",
                           "mtp_layers.0.eh_proj.weight", "mtp_layers.1.mtp_norm.weight",
                           "mtp_layers.0.moe.experts.w1", "mtp_layers.1.attention.wkv_a.weight"})
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
  EXPECT_EQ(model->blocks().size(), 8U);
}

TEST(MultiTokenPrediction, AddsAShareOfTheFurtherTokensLoss) {
  const Row row;
  const auto without = small_model(0), with = small_model(1);
  // The main model is the same: its parameters are drawn by name.
  EXPECT_TRUE(at::equal(row.logits(*without), row.logits(*with)));
  const double next = cross_entropy_sum(row.logits(*with), row.labels).item<double>();
  EXPECT_NEAR(row.loss(*without), next, 1e-4);
  // An untrained layer guesses: 22 labels have one further in their document, at about ln 2048.
  EXPECT_NEAR(row.loss(*with) - next, 0.3 * 22 * 7.62, 0.3 * 22 * 0.8);
  // Of two depths the mean counts.
  EXPECT_NEAR(row.loss(*small_model(2)) - next, 0.3 * (22 + 20) / 2 * 7.62, 0.3 * 21 * 0.8);
}

TEST(MultiTokenPrediction, TrainsItsLayersAndTheModelBelow) {
  const Row row;
  const auto model = small_model(1);
  model->loss_sum(row.tokens, row.labels, row.positions, model->get_attention_masks(row.layout))
      .backward();
  for (const auto& [name, parameter] : named_parameters_of(*model)) {
    ASSERT_TRUE(parameter.grad().defined()) << name;
    EXPECT_GT(parameter.grad().abs().max().item<double>(), 0) << name;
  }
}

TEST(MultiTokenPrediction, ADocumentsPredictionsDoNotDependOnItsNeighbours) {
  Row row;
  const auto model = small_model(1);
  // The first document's labels are left out, so that only the second's count.
  row.labels.slice(1, 0, 10).fill_(kIgnoredLabel);
  const double before = row.loss(*model);
  row.tokens.slice(1, 0, 10).fill_(7);
  EXPECT_NEAR(row.loss(*model), before, 1e-3);
}

TEST(MultiTokenPrediction, OtherModelsRefuseIt) {
  EXPECT_THROW(build_model({.name = "llama3",
                            .flavor = "debugmodel",
                            .seq_len = 16,
                            .num_mtp_layers = 1,
                            .tensors = at::TensorOptions().device(at::kMeta)}),
               ConfigError);
}

}  // namespace
}  // namespace coeus
