#include "coeus/models/parallelize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/base/ignored_label.h"
#include "coeus/comm/test_ranks.h"
#include "coeus/models/deepseek_v3/model.h"
#include "coeus/models/llama3/model.h"
#include "coeus/models/llama4/model.h"
#include "coeus/models/qwen3/model.h"
#include "coeus/models/registry.h"
#include "coeus/nn/init.h"
#include "coeus/nn/parameter.h"
#include "coeus/parallel/activation_checkpoint.h"

namespace coeus {
namespace {

constexpr int64_t kVocabulary = 37;

/// What is trained on, and how.
struct Training {
  std::string family;
  std::function<std::shared_ptr<Model>(const at::TensorOptions&)> build;
  int64_t seq_len = 8;
  int64_t batch = 2;
  at::ScalarType dtype = at::kDouble;
  ActivationCheckpointConfig recompute = {.mode = "none"};
  bool loss_parallel = true;
};

/// Losses and gradients by name.
struct Result {
  double loss = 0;
  std::map<std::string, at::Tensor> gradients;
};

at::Tensor tokens_of(const Training& training, int64_t factor) {
  return ((at::arange(training.batch * training.seq_len) + 3) * factor)
      .remainder(kVocabulary)
      .view({training.batch, training.seq_len});
}

/// One training pass of a model whose weights are there.
double pass(Model& model, const Training& training) {
  at::Tensor labels = tokens_of(training, 17);
  labels.view(-1)[0] = kIgnoredLabel;
  // The positions of two documents, for what prediction layers know of them.
  at::Tensor positions = at::arange(training.seq_len, at::kInt).repeat({training.batch, 1});
  positions.slice(1, training.seq_len / 2 + 1) -= training.seq_len / 2 + 1;
  const std::vector<SequenceLayout> rows(
      training.batch,
      SequenceLayout::from_document_lengths(std::vector<int64_t>{training.seq_len}));
  apply_activation_checkpoint(model.blocks(), training.recompute);
  const at::Tensor loss =
      model.loss_sum(tokens_of(training, 5), labels, positions, model.get_attention_masks(rows));
  loss.backward();
  return loss.item<double>();
}

Result on_one_rank(const Training& training) {
  const auto model = training.build(at::TensorOptions().dtype(training.dtype));
  model->init_weights(1);
  Result result = {.loss = pass(*model, training)};
  for (const auto& [name, parameter] : named_parameters_of(*model))
    result.gradients[name] = parameter.grad();
  return result;
}

at::Tensor cut(at::Tensor whole, const TensorSlice& slice) {
  for (size_t dim = 0; dim < slice.size.size(); ++dim)
    whole = whole.narrow(static_cast<int64_t>(dim), slice.begin[dim], slice.size[dim]);
  return whole;
}

std::shared_ptr<Model> without_memory(const Training& training) {
  const nn::WithoutMemory guard;
  return training.build(at::TensorOptions().dtype(training.dtype));
}

/// Expects every rank's loss, and its slices of gradients once partial ones are summed, to be the
/// whole model's.
void expect_the_same(const Training& training, const ParallelDegrees& degrees,
                     double tolerance = 1e-9) {
  const Result whole = on_one_rank(training);
  run_ranks(degrees, [&](const ParallelGroups& groups) {
    const std::shared_ptr<Model> model = without_memory(training);
    ShardedParameters parameters(*model);
    TensorParallel tensor(groups, *model, parameters, {.loss_parallel = training.loss_parallel});
    ModelParallel parallel = {tensor};
    parallelize(*model, training.family, parallel);
    parameters.materialize();
    const auto slices = parameters.slices();
    {
      const nn::SlicedInit sliced(slices);
      model->init_weights(1);
    }
    tensor.begin_pass(training.seq_len);
    EXPECT_NEAR(pass(*model, training), whole.loss, tolerance * (1 + std::abs(whole.loss)));
    for (const ShardedParameter& parameter : parameters.all()) {
      at::Tensor gradient = parameter.tensor.grad();
      ASSERT_TRUE(gradient.defined()) << parameter.name;
      for (const auto& group : parameter.partial_over)
        gradient = group->all_reduce(gradient, "gradient");
      const at::Tensor want = cut(whole.gradients.at(parameter.name), parameter.slice);
      ASSERT_EQ(gradient.sizes(), want.sizes()) << parameter.name;
      const double scale = 1 + whole.gradients.at(parameter.name).abs().max().item<double>();
      EXPECT_LE((gradient - want).abs().max().item<double>(), tolerance * scale)
          << parameter.name << " of rank " << groups.mesh.rank();
    }
  });
}

Training llama3_training(int64_t heads = 4, int64_t key_value_heads = 2) {
  return {.family = "llama3", .build = [=](const at::TensorOptions& options) {
            return std::make_shared<llama3::Transformer>(
                llama3::Sizes{.dim = 4 * heads,
                              .n_layers = 2,
                              .n_heads = heads,
                              .n_kv_heads = key_value_heads,
                              .vocab_size = kVocabulary,
                              .multiple_of = 1,
                              .max_seq_len = 16},
                AttentionEngine::kReference, options);
          }};
}

TEST(TensorParallelLlama3, AgreesWithOneRank) {
  for (const int64_t tp : {2, 4}) expect_the_same(llama3_training(), {.tp = tp});
  expect_the_same(llama3_training(6, 3), {.tp = 3});
}

TEST(TensorParallelLlama3, KeyHeadsAreSharedByRanksWhereThereAreTooFew) {
  expect_the_same(llama3_training(4, 1), {.tp = 4});
  expect_the_same(llama3_training(8, 2), {.tp = 4});
}

TEST(TensorParallelLlama3, RowsOfAnyLengthAreShared) {
  for (const int64_t seq_len : {1, 2, 5, 7}) {
    Training training = llama3_training();
    training.seq_len = seq_len;
    expect_the_same(training, {.tp = 4});
    training.batch = 1;
    expect_the_same(training, {.tp = 4});
  }
}

TEST(TensorParallelLlama3, LayersMayBeRecomputed) {
  Training training = llama3_training();
  for (const char* option : {"1", "2", "op"}) {
    training.recompute = {.mode = "selective", .selective_ac_option = option};
    expect_the_same(training, {.tp = 2});
  }
  training.seq_len = 1;
  training.recompute = {.mode = "full"};
  expect_the_same(training, {.tp = 4});
}

TEST(TensorParallelLlama3, LogitsMayBeGathered) {
  Training training = llama3_training();
  training.loss_parallel = false;
  expect_the_same(training, {.tp = 4});
}

TEST(TensorParallelLlama3, AgreesInSinglePrecision) {
  Training training = llama3_training();
  training.dtype = at::kFloat;
  training.seq_len = 7;
  expect_the_same(training, {.tp = 4}, 2e-6);
}

}  // namespace
}  // namespace coeus
