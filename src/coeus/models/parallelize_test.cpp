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
#include "coeus/nn/autocast.h"
#include "coeus/nn/init.h"
#include "coeus/nn/parameter.h"
#include "coeus/parallel/activation_checkpoint.h"
#include "coeus/parallel/expert/expert_parallel.h"
#include "coeus/parallel/expert/load_balance_over_ranks.h"

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
  int64_t loss_chunk_size = 0;  ///< of the split model
  bool autocast = false;        ///< to bfloat16
};

/// Losses, and by name gradients and what becomes of experts' biases.
struct Result {
  double loss = 0;
  std::map<std::string, at::Tensor> gradients;
  std::map<std::string, at::Tensor> buffers;
  std::vector<std::pair<std::string, double>> metrics;
};

at::Tensor tokens_of(const Training& training, int64_t factor) {
  return ((at::arange(training.batch * training.seq_len) + 3) * factor)
      .remainder(kVocabulary)
      .view({training.batch, training.seq_len});
}

/// The loss of a model whose weights are there.
at::Tensor loss_of(Model& model, const Training& training) {
  at::Tensor labels = tokens_of(training, 17);
  labels.view(-1)[0] = kIgnoredLabel;
  // The positions of two documents, for what prediction layers know of them.
  at::Tensor positions = at::arange(training.seq_len, at::kInt).repeat({training.batch, 1});
  positions.slice(1, training.seq_len / 2 + 1) -= training.seq_len / 2 + 1;
  const std::vector<SequenceLayout> rows(
      training.batch,
      SequenceLayout::from_document_lengths(std::vector<int64_t>{training.seq_len}));
  const nn::Autocast autocast(training.autocast ? at::kBFloat16 : at::kFloat);
  return model.loss_sum(tokens_of(training, 5), labels, positions, model.get_attention_masks(rows));
}

/// One training pass; the loss is divided over ranks that all see the same rows.
double pass(Model& model, const Training& training, int64_t data_ranks = 1) {
  apply_activation_checkpoint(model.blocks(), training.recompute);
  model.begin_step(training.batch * data_ranks);
  const at::Tensor loss = loss_of(model, training);
  (loss / data_ranks).backward();
  return loss.item<double>();
}

Result on_one_rank(const Training& training) {
  const auto model = training.build(at::TensorOptions().dtype(training.dtype));
  model->init_weights(1);
  Result result = {.loss = pass(*model, training)};
  for (const auto& [name, parameter] : named_parameters_of(*model))
    result.gradients[name] = parameter.grad();
  model->before_optimizer_step();
  for (const auto& item : model->named_buffers()) result.buffers[item.key()] = item.value();
  result.metrics = nn::expert_usage_metrics(nn::expert_usage(nn::moe_layers_of(*model)));
  return result;
}

/// The largest value; 0 for none, as on a rank without experts.
double largest(const at::Tensor& x) { return x.numel() == 0 ? 0 : x.abs().max().item<double>(); }

at::Tensor cut(at::Tensor whole, const TensorSlice& slice) {
  for (size_t dim = 0; dim < slice.size.size(); ++dim)
    whole = whole.narrow(static_cast<int64_t>(dim), slice.begin[dim], slice.size[dim]);
  return whole;
}

std::shared_ptr<Model> without_memory(const Training& training) {
  const nn::WithoutMemory guard;
  return training.build(at::TensorOptions().dtype(training.dtype));
}

/// This rank's part of a model, ready for passes.
struct Split {
  Split(const Training& training, const ParallelGroups& groups)
      : model(without_memory(training)), parameters(*model) {
    TensorParallel tensor(groups, *model, parameters, {.loss_parallel = training.loss_parallel});
    ModelParallel parallel = {tensor};
    parallelize(*model, training.family, parallel);
    model->set_loss_chunk_size(training.loss_chunk_size);
    apply_expert_parallel(*model, parameters, groups);
    parameters.materialize();
    const auto slices = parameters.slices();
    const nn::SlicedInit sliced(slices);
    model->init_weights(1);
    tensor.begin_pass(training.seq_len);
  }
  std::shared_ptr<Model> model;
  ShardedParameters parameters;
};

/// Expects every rank's loss, and its slices of gradients once partial ones are summed, to be the
/// whole model's.
void expect_the_same(const Training& training, const ParallelDegrees& degrees,
                     double tolerance = 1e-9) {
  const Result whole = on_one_rank(training);
  run_ranks(degrees, [&](const ParallelGroups& groups) {
    Split split(training, groups);
    const std::shared_ptr<Model>& model = split.model;
    const double loss = pass(*model, training, groups.mesh.data_ranks());
    EXPECT_NEAR(loss, whole.loss, tolerance * whole.loss);
    for (const ShardedParameter& parameter : split.parameters.all()) {
      const std::string& name = parameter.name;
      at::Tensor gradient = parameter.tensor.grad();
      ASSERT_TRUE(gradient.defined()) << name;
      for (const auto& group : parameter.partial_over)
        gradient = group->all_reduce(gradient, "gradient");
      const bool is_spread = name.find(".experts.") != std::string::npos;
      gradient = (is_spread ? groups.expert_shard : groups.loss)->all_reduce(gradient, "gradient");
      const at::Tensor& all = whole.gradients.at(name);
      const at::Tensor want = cut(all, parameter.slice);
      ASSERT_EQ(gradient.sizes(), want.sizes()) << name;
      EXPECT_LE(largest(gradient - want), tolerance * (largest(all) + 1e-3))
          << name << " of rank " << groups.mesh.rank();
    }
    model->before_optimizer_step(sum_of_tokens(groups));
    for (const auto& item : model->named_buffers())
      EXPECT_TRUE(at::equal(item.value(), whole.buffers.at(item.key()))) << item.key();
    const auto metrics = expert_usage_metrics(nn::moe_layers_of(*model), groups);
    ASSERT_EQ(metrics.size(), whole.metrics.size());
    for (size_t i = 0; i < metrics.size(); ++i)
      EXPECT_NEAR(metrics[i].second, whole.metrics[i].second, 1e-5) << metrics[i].first;
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

TEST(TensorParallelLlama3, PartsOfAModelHaveGroupsOfTheirOwn) {
  const Training training = llama3_training(8, 2);
  run_ranks({.tp = 4}, [&](const ParallelGroups& groups) {
    const auto part = [&](const std::vector<std::string>& modules) {
      const std::shared_ptr<Model> model = without_memory(training);
      model->keep_modules(modules);
      ShardedParameters parameters(*model);
      TensorParallel tensor(groups, *model, parameters);
      ModelParallel parallel = {tensor};
      parallelize(*model, training.family, parallel);
      return parameters;
    };
    const ShardedParameters first = part({"tok_embeddings", "layers.0"});
    const ShardedParameters second = part({"layers.1", "norm", "output"});
    for (const auto* parameters : {&first, &second})
      for (const ShardedParameter& parameter : parameters->all())
        for (const auto& group : parameter.partial_over)
          EXPECT_EQ(group->all_reduce(at::ones({}), "ones").item<int64_t>(), group->size())
              << parameter.name;
  });
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

TEST(TensorParallelLlama3, AgreesInLowerPrecisions) {
  Training training = llama3_training();
  training.dtype = at::kFloat;
  training.seq_len = 7;
  expect_the_same(training, {.tp = 4}, 1e-5);
  training.autocast = true;
  expect_the_same(training, {.tp = 4}, 0.03);
}

TEST(TensorParallelLlama3, AgreesWithoutGradients) {
  const Training training = llama3_training();
  const auto whole = training.build(at::TensorOptions().dtype(training.dtype));
  whole->init_weights(1);
  run_ranks({.tp = 2}, [&](const ParallelGroups& groups) {
    const Split split(training, groups);
    const at::NoGradGuard no_grad;
    EXPECT_NEAR(loss_of(*split.model, training).item<double>(),
                loss_of(*whole, training).item<double>(), 1e-9);
  });
}

/// Every second layer with experts, a shared one among them.
Training llama4_training() {
  return {.family = "llama4", .build = [](const at::TensorOptions& options) {
            llama4::Sizes sizes = {.dim = 16,
                                   .n_layers = 4,
                                   .n_heads = 4,
                                   .n_kv_heads = 2,
                                   .vocab_size = kVocabulary,
                                   .multiple_of = 1};
            sizes.max_seq_len = 16;
            sizes.every_n_layers_nope = 3;
            sizes.masks = {{llama4::kRopeMaskName, parse_mask("causal & chunk(4)")},
                           {llama4::kNopeMaskName, mask::causal()}};
            sizes.moe.num_experts = 6;
            return std::make_shared<llama4::Transformer>(sizes, AttentionEngine::kReference,
                                                         options);
          }};
}

/// A dense layer, layers with experts, auxiliary losses, and a layer that predicts a further token.
Training deepseek_training(int64_t q_lora_rank = 0) {
  return {.family = "deepseek_v3", .build = [=](const at::TensorOptions& options) {
            deepseek_v3::Sizes sizes;
            sizes.dim = 16;
            sizes.n_layers = 2;
            sizes.n_heads = 4;
            sizes.vocab_size = kVocabulary;
            sizes.hidden_dim = 19;
            sizes.moe_hidden_dim = 7;
            sizes.q_lora_rank = q_lora_rank;
            sizes.kv_lora_rank = 8;
            sizes.qk_nope_head_dim = 4;
            sizes.qk_rope_head_dim = 2;
            sizes.v_head_dim = 4;
            sizes.max_seq_len = 16;
            sizes.n_prediction_layers = 1;
            sizes.moe = {.num_experts = 8,
                         .num_shared_experts = 2,
                         .score_func = nn::ScoreFunction::kSoftmax,
                         .top_k = 3,
                         .score_before_experts = false,
                         .sequence_balance_loss_coeff = 0.1,
                         .z_loss_coeff = 0.01};
            return std::make_shared<deepseek_v3::Transformer>(sizes, AttentionEngine::kReference,
                                                              options);
          }};
}

enum class Qwen3Kind { kDense, kTied, kExperts };

Training qwen3_training(Qwen3Kind kind) {
  return {.family = "qwen3", .build = [=](const at::TensorOptions& options) {
            qwen3::Sizes sizes = {.dim = 16, .n_layers = 2, .n_heads = 4, .n_kv_heads = 2};
            sizes.vocab_size = kVocabulary;
            sizes.hidden_dim = 21;
            sizes.head_dim = 6;
            sizes.max_seq_len = 16;
            sizes.enable_weight_tying = kind == Qwen3Kind::kTied;
            if (kind == Qwen3Kind::kExperts)
              sizes.moe = nn::MoEOptions{.num_experts = 5,
                                         .num_shared_experts = 0,
                                         .score_func = nn::ScoreFunction::kSoftmax,
                                         .top_k = 2,
                                         .route_norm = true,
                                         .score_before_experts = false};
            sizes.moe_hidden_dim = 9;
            return std::make_shared<qwen3::Transformer>(sizes, AttentionEngine::kReference,
                                                        options);
          }};
}

/// Scores of experts are float32 in every model, and so are their gradients.
constexpr double kOfScores = 1e-5;

TEST(TensorParallelLlama4, AgreesWithOneRank) {
  for (const int64_t tp : {2, 4}) expect_the_same(llama4_training(), {.tp = tp}, kOfScores);
}

TEST(TensorParallelDeepSeekV3, AgreesWithOneRank) {
  for (const int64_t tp : {2, 4}) expect_the_same(deepseek_training(), {.tp = tp}, kOfScores);
  expect_the_same(deepseek_training(/*q_lora_rank=*/8), {.tp = 2}, kOfScores);
}

TEST(TensorParallelQwen3, AgreesWithOneRank) {
  for (const Qwen3Kind kind : {Qwen3Kind::kDense, Qwen3Kind::kTied})
    for (const int64_t tp : {2, 4}) expect_the_same(qwen3_training(kind), {.tp = tp});
  expect_the_same(qwen3_training(Qwen3Kind::kExperts), {.tp = 4}, kOfScores);
}

TEST(TensorParallelModels, TheLossMayBeMadeByChunks) {
  for (Training training :
       {llama3_training(), qwen3_training(Qwen3Kind::kTied), deepseek_training()}) {
    training.loss_chunk_size = 3;
    expect_the_same(training, {.tp = 2}, kOfScores);
    expect_the_same(training, {.dp_shard = 2, .tp = 2}, kOfScores);
  }
}

TEST(TensorParallelExperts, LayersMayBeRecomputedAndRowsShort) {
  for (const int64_t seq_len : {1, 7})
    for (const char* option : {"1", "op"}) {
      Training training = deepseek_training();
      training.seq_len = seq_len;
      training.recompute = {.mode = "selective", .selective_ac_option = option};
      expect_the_same(training, {.tp = 4}, kOfScores);
    }
}

TEST(TensorParallelExperts, MayBeSpreadOverTheSameRanks) {
  for (const int64_t seq_len : {1, 7, 8}) {
    Training training = deepseek_training();
    training.seq_len = seq_len;
    expect_the_same(training, {.tp = 4, .ep = 4}, kOfScores);
    training.recompute = {.mode = "selective", .selective_ac_option = "op"};
    expect_the_same(training, {.tp = 2, .ep = 2}, kOfScores);
  }
  expect_the_same(llama4_training(), {.dp_shard = 2, .tp = 2, .ep = 4}, kOfScores);
  expect_the_same(qwen3_training(Qwen3Kind::kExperts), {.tp = 4, .ep = 4}, kOfScores);
}

TEST(TensorParallelExperts, MayBeSplitAndSpreadOverOtherRanks) {
  expect_the_same(llama4_training(), {.dp_shard = 2, .tp = 2, .ep = 2, .etp = 2}, kOfScores);
  expect_the_same(deepseek_training(), {.dp_shard = 2, .tp = 2, .ep = 2, .etp = 2}, kOfScores);
}

void expect_refused(const Training& training, const ParallelDegrees& degrees,
                    const std::string& why) {
  run_ranks(degrees, [&](const ParallelGroups& groups) {
    const std::shared_ptr<Model> model = without_memory(training);
    ShardedParameters parameters(*model);
    TensorParallel tensor(groups, *model, parameters);
    ModelParallel parallel = {tensor};
    try {
      parallelize(*model, training.family, parallel);
      ADD_FAILURE() << "not refused: " << why;
    } catch (const ConfigError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(why));
    }
  });
}

TEST(TensorParallelModels, WhatDoesNotFitIsRefused) {
  expect_refused(llama3_training(4, 2), {.tp = 3},
                 "tensor_parallel_degree = 3: must divide the 4 heads of layers.0.attention.wq");
  expect_refused(llama3_training(12, 4), {.tp = 6},
                 "tensor_parallel_degree = 6: must divide the 12 query heads of "
                 "layers.0.attention.wk, and divide its 4 key heads or be a multiple of them");
  Training training = llama3_training();
  training.family = "vlm";
  expect_refused(training, {.tp = 2}, "tensor_parallel_degree = 2: vlm has no plan");
}

}  // namespace
}  // namespace coeus
