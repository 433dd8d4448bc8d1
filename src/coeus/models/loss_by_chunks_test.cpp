// A loss made by chunks is that of all logits at once, in every family of models of text.
#include <gtest/gtest.h>
#include <torch/types.h>

#include "coeus/base/ignored_label.h"
#include "coeus/models/registry.h"
#include "coeus/nn/autocast.h"

namespace coeus {
namespace {

constexpr int64_t kSeqLen = 24;

struct Family {
  const char* name;
  const char* flavor;
  int64_t num_mtp_layers = 0;
};

struct Result {
  double loss = 0;
  std::map<std::string, at::Tensor> gradients;
};

Result run(const Family& family, int64_t chunk_size, at::ScalarType autocast) {
  const auto model = build_model({.name = family.name,
                                  .flavor = family.flavor,
                                  .seq_len = kSeqLen,
                                  .num_mtp_layers = family.num_mtp_layers,
                                  .tensors = at::TensorOptions()});
  model->init_weights(1);
  model->set_loss_chunk_size(chunk_size);
  model->begin_step(2);
  const at::Tensor stream = (at::arange(2 * kSeqLen + 1) * 389).remainder(2000);
  at::Tensor labels = stream.slice(0, 1).clone().view({2, kSeqLen});
  labels[0].slice(0, 5, 12).fill_(kIgnoredLabel);
  const std::vector<SequenceLayout> rows(
      2, SequenceLayout::from_document_lengths(std::vector<int64_t>{10, kSeqLen - 10}));
  at::Tensor loss;
  {
    const nn::Autocast precision(autocast);
    loss = model->loss_sum(stream.slice(0, 0, -1).view({2, kSeqLen}), labels,
                           at::arange(kSeqLen, at::kInt).repeat({2, 1}),
                           model->get_attention_masks(rows)) /
           41;
  }
  loss.backward();
  Result result = {.loss = loss.item<double>()};
  for (const auto& [name, parameter] : named_parameters_of(*model))
    result.gradients[name] = parameter.grad();
  return result;
}

class LossByChunks : public testing::TestWithParam<Family> {
 protected:
  /// Errors of gradients are relative to their root mean square.
  static void expect_the_same(at::ScalarType autocast, double of_loss, double of_gradients) {
    const Result at_once = run(GetParam(), 0, autocast);
    for (const int64_t chunk_size : {13, 1000}) {
      const Result by_chunks = run(GetParam(), chunk_size, autocast);
      EXPECT_NEAR(by_chunks.loss, at_once.loss, of_loss);
      for (const auto& [name, gradient] : at_once.gradients) {
        const double error = (by_chunks.gradients.at(name) - gradient).norm().item<double>();
        EXPECT_LE(error, of_gradients * gradient.norm().item<double>()) << name;
      }
    }
  }
};

INSTANTIATE_TEST_SUITE_P(
    All, LossByChunks,
    testing::Values(Family{"llama3", "debugmodel_flex_attn"}, Family{"llama4", "debugmodel_irope"},
                    Family{"deepseek_v3", "debugmodel"}, Family{"deepseek_v3", "debugmodel", 2},
                    Family{"qwen3", "debugmodel"}, Family{"qwen3", "debugmodel_tied"},
                    Family{"qwen3", "debugmodel_moe_small"}),
    [](const auto& info) {
      const Family& family = info.param;
      return fmt::format("{}_{}{}", family.name, family.flavor,
                         family.num_mtp_layers > 0 ? "_mtp" : "");
    });

TEST_P(LossByChunks, IsThatOfAllAtOnce) { expect_the_same(at::kFloat, 1e-5, 1e-5); }

TEST_P(LossByChunks, IsThatOfAllAtOnceUnderAutocast) { expect_the_same(at::kBFloat16, 1e-4, 0.02); }

}  // namespace
}  // namespace coeus
