// Models cut into pipeline stages: losses, gradients, masks and positions are those of the whole.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "coeus/base/error.h"
#include "coeus/comm/test_ranks.h"
#include "coeus/models/deepseek_v3/model.h"
#include "coeus/models/llama3/masks.h"
#include "coeus/models/llama3/model.h"
#include "coeus/models/llama4/model.h"
#include "coeus/models/qwen3/model.h"
#include "coeus/nn/autocast.h"
#include "coeus/parallel/activation_checkpoint.h"
#include "coeus/parallel/pipeline/make_schedule.h"
#include "coeus/parallel/pipeline/runtime.h"
#include "coeus/parallel/pipeline/schedule_csv.h"
#include "coeus/parallel/pipeline/stage_split.h"

namespace coeus {
namespace {

constexpr int64_t kSeqLen = 24;
constexpr int64_t kVocabulary = 48;
constexpr int64_t kLayers = 6;

using MakeModel = std::shared_ptr<Model> (*)();

std::shared_ptr<Model> llama3_of(const Mask& mask) {
  const llama3::Sizes sizes = {.dim = 16,
                               .n_layers = kLayers,
                               .n_heads = 2,
                               .n_kv_heads = 1,
                               .vocab_size = kVocabulary,
                               .multiple_of = 8,
                               .max_seq_len = kSeqLen,
                               .mask = mask};
  return std::make_shared<llama3::Transformer>(sizes, AttentionEngine::kAuto, at::TensorOptions());
}
std::shared_ptr<Model> llama3_causal() { return llama3_of(mask::causal()); }
std::shared_ptr<Model> llama3_documents() { return llama3_of(llama3::block_causal()); }

nn::MoEOptions small_experts() { return {.num_experts = 4, .num_shared_experts = 1, .top_k = 2}; }

std::shared_ptr<Model> llama4_of(const nn::MoEOptions& moe) {
  const llama4::Sizes sizes = {.dim = 16,
                               .n_layers = kLayers,
                               .n_heads = 2,
                               .n_kv_heads = 1,
                               .vocab_size = kVocabulary,
                               .multiple_of = 8,
                               .moe = moe,
                               .every_n_layers_nope = 3,
                               .max_seq_len = kSeqLen,
                               .masks = llama4::irope_masks(8)};
  return std::make_shared<llama4::Transformer>(sizes, AttentionEngine::kAuto, at::TensorOptions());
}

std::shared_ptr<Model> llama4_irope() { return llama4_of(small_experts()); }
std::shared_ptr<Model> llama4_with_losses() {
  nn::MoEOptions moe = small_experts();
  moe.z_loss_coeff = 0.1;
  moe.sequence_balance_loss_coeff = 0.1;
  return llama4_of(moe);
}

std::shared_ptr<Model> deepseek() {
  const deepseek_v3::Sizes sizes = {.dim = 16,
                                    .n_layers = kLayers,
                                    .n_heads = 2,
                                    .vocab_size = kVocabulary,
                                    .hidden_dim = 24,
                                    .moe_hidden_dim = 8,
                                    .moe = small_experts(),
                                    .kv_lora_rank = 8,
                                    .qk_nope_head_dim = 8,
                                    .qk_rope_head_dim = 4,
                                    .v_head_dim = 8,
                                    .max_seq_len = kSeqLen};
  return std::make_shared<deepseek_v3::Transformer>(sizes, AttentionEngine::kAuto,
                                                    at::TensorOptions());
}

std::shared_ptr<Model> qwen3_dense() {
  qwen3::Sizes sizes;
  sizes.dim = 16;
  sizes.n_layers = kLayers;
  sizes.n_heads = 2;
  sizes.n_kv_heads = 1;
  sizes.head_dim = 8;
  sizes.hidden_dim = 24;
  sizes.vocab_size = kVocabulary;
  sizes.max_seq_len = kSeqLen;
  sizes.enable_weight_tying = false;
  return std::make_shared<qwen3::Transformer>(sizes, AttentionEngine::kAuto, at::TensorOptions());
}

const ActivationCheckpointConfig kKeepAll = {.mode = "none"};

std::shared_ptr<Model> drawn(MakeModel make,
                             const ActivationCheckpointConfig& recompute = kKeepAll) {
  std::shared_ptr<Model> model = make();
  model->init_weights(3);
  apply_activation_checkpoint(model->blocks(), recompute);
  return model;
}

/// Documents, and so masks and positions, differ from row to row.
PipelineBatch batch_of(const Model& model, int64_t rows) {
  std::vector<SequenceLayout> layouts;
  std::vector<at::Tensor> positions;
  for (int64_t row = 0; row < rows; ++row) {
    const std::vector<int64_t> documents = {3 + 2 * row, 5, kSeqLen - 8 - 2 * row};
    layouts.push_back(SequenceLayout::from_document_lengths(documents));
    positions.push_back(at::tensor(layouts.back().query()->offset, at::kInt));
  }
  const at::Tensor stream = (at::arange(rows * kSeqLen + 1) * 389).remainder(kVocabulary);
  const int64_t n = rows * kSeqLen;
  return {.tokens = stream.narrow(0, 0, n).view({rows, kSeqLen}),
          .labels = stream.narrow(0, 1, n).view({rows, kSeqLen}),
          .positions = at::stack(positions),
          .masks = model.get_attention_masks(layouts)};
}

/// That of the part with the output.
PipelineLoss loss_of(const std::shared_ptr<Model>& last) {
  return [last](const at::Tensor& normed, const at::Tensor& labels) {
    return last->loss_of(normed, labels) / 100;
  };
}

struct Result {
  double loss = 0;
  std::map<std::string, at::Tensor> gradients;

  void add(const Model& model) {
    for (const auto& [name, parameter] : named_parameters_of(model))
      EXPECT_TRUE(gradients.emplace(name, parameter.grad()).second) << name;
  }
};

/// The whole model, over micro-batches one after another.
Result without_pipeline(MakeModel make, int64_t rows, int64_t micro_batch_size, bool backwards,
                        const ActivationCheckpointConfig& recompute = kKeepAll,
                        at::ScalarType autocast = at::kFloat) {
  const std::shared_ptr<Model> model = drawn(make, recompute);
  std::vector<MicroBatch> parts = cut_into_micro_batches(batch_of(*model, rows), micro_batch_size);
  if (backwards) std::reverse(parts.begin(), parts.end());
  Result result;
  for (const MicroBatch& part : parts) {
    at::Tensor loss;
    {
      const nn::Autocast precision(autocast);
      loss = model->loss_sum(part.tokens, part.labels, part.positions, part.masks) / 100;
    }
    loss.backward();
    result.loss += loss.item<double>();
  }
  result.add(*model);
  return result;
}

struct PipelineCase {
  MakeModel make = nullptr;
  PipelineSchedule schedule;
  int64_t rows = 4;
  int64_t micro_batch_size = 1;
  ActivationCheckpointConfig recompute = kKeepAll;
  at::ScalarType autocast = at::kFloat;
  int64_t loss_chunk_size = 0;
};

/// One rank: its stages are parts of models of their own, as on ranks of a job.
Result run_rank(const PipelineCase& c, std::unique_ptr<StageTransport> transport) {
  const int64_t rank = transport->rank();
  const auto modules = c.make()->pipeline_modules();
  const StageModules split = split_into_stages(modules, c.schedule.stages, 1, 1);
  std::vector<std::shared_ptr<Model>> parts;
  std::vector<PipelineStage> stages;
  for (const int64_t number : c.schedule.stages_of(rank)) {
    const std::shared_ptr<Model> part = c.make();
    part->keep_modules(split[number]);
    part->set_loss_chunk_size(c.loss_chunk_size);
    part->init_weights(3);
    apply_activation_checkpoint(part->blocks(), c.recompute);
    parts.push_back(part);
    stages.push_back({number, [part](const at::Tensor& input, const at::Tensor& positions,
                                     const AttentionMasks& masks) {
                        return part->forward_part(input, positions, masks);
                      }});
  }
  PipelineRuntime runtime(c.schedule, stages, std::move(transport),
                          {.hidden_size = parts[0]->hidden_size(),
                           .micro_batch_size = c.micro_batch_size,
                           .autocast = c.autocast});
  Result result;
  // A rank's stages ascend, and only the last is asked for its loss.
  result.loss = runtime.run(batch_of(*parts[0], c.rows), loss_of(parts.back())).item<double>();
  if (!runtime.has_last_stage()) {
    EXPECT_EQ(result.loss, 0);
  }
  for (const auto& part : parts) result.add(*part);
  return result;
}

/// f(transport) in a thread for each rank.
void for_ranks(int64_t count, const std::function<void(std::unique_ptr<StageTransport>)>& f) {
  std::vector<std::thread> ranks;
  for (auto& transport : make_in_process_transports(count))
    ranks.emplace_back([&f, transport = std::move(transport)]() mutable {
      try {
        f(std::move(transport));
      } catch (const std::exception& error) {
        ADD_FAILURE() << error.what();
      }
    });
  for (std::thread& rank : ranks) rank.join();
}

Result with_pipeline(const PipelineCase& c) {
  Result all;
  std::mutex mutex;
  for_ranks(c.schedule.rank_count(), [&](std::unique_ptr<StageTransport> transport) {
    const Result result = run_rank(c, std::move(transport));
    const std::lock_guard lock(mutex);
    all.loss += result.loss;
    for (const auto& [name, gradient] : result.gradients)
      EXPECT_TRUE(all.gradients.emplace(name, gradient).second) << name << " on two ranks";
  });
  return all;
}

void expect_same_bits(const Result& a, const Result& b) {
  EXPECT_NEAR(a.loss, b.loss, 1e-6 * std::abs(b.loss));
  ASSERT_EQ(a.gradients.size(), b.gradients.size());
  for (const auto& [name, gradient] : b.gradients) {
    ASSERT_TRUE(a.gradients.contains(name)) << name;
    const at::Tensor& other = a.gradients.at(name);
    ASSERT_EQ(other.defined(), gradient.defined()) << name;
    if (!gradient.defined()) continue;
    EXPECT_GT(gradient.abs().max().item<double>(), 0) << name;
    EXPECT_TRUE(at::equal(other, gradient))
        << name << " differs by " << (other - gradient).abs().max().item<double>();
  }
}

void expect_close(const Result& a, const Result& b) {
  EXPECT_NEAR(a.loss, b.loss, 1e-5 * std::abs(b.loss));
  for (const auto& [name, gradient] : b.gradients)
    EXPECT_TRUE(at::allclose(a.gradients.at(name), gradient, 1e-4, 1e-6)) << name;
}

const std::map<std::string, MakeModel> kModels = {{"llama3", llama3_causal},
                                                  {"llama3_documents", llama3_documents},
                                                  {"llama4_irope", llama4_irope},
                                                  {"deepseek_v3", deepseek},
                                                  {"qwen3", qwen3_dense}};

PipelineSchedule schedule_named(const std::string& name, int64_t ranks, int64_t micro_batches) {
  if (name == "csv") {
    // Both kinds of backward pass, stages in no order that has a name.
    EXPECT_EQ(ranks, 2);
    std::string first, second;
    for (int64_t i = 0; i < micro_batches; ++i) {
      first += fmt::format("0F{0},3F{0},3I{0},", i);
      second += fmt::format("1F{0},2F{0},2I{0},2W{0},1B{0},", i);
    }
    for (int64_t i = 0; i < micro_batches; ++i) first += fmt::format("0I{0},3W{0},0W{0},", i);
    return schedule_from_csv(first + "\n" + second, "csv");
  }
  const int64_t of_rank = schedule_traits(name).stages_per_rank;
  return make_schedule(name, ranks, of_rank == 0 ? 2 : of_rank, micro_batches);
}

using Names = std::tuple<std::string, std::string>;
class PipelineOfModels : public testing::TestWithParam<Names> {};
std::string test_name(const testing::TestParamInfo<Names>& info) {
  const auto& [schedule, model] = info.param;
  return (schedule == "1F1B" ? "OneForwardOneBackward" : schedule) + "_" + model;
}
INSTANTIATE_TEST_SUITE_P(
    All, PipelineOfModels,
    testing::Combine(testing::Values("GPipe", "1F1B", "Interleaved1F1B", "LoopedBFS",
                                     "InterleavedZeroBubble", "ZBVZeroBubble", "csv"),
                     testing::Values("llama3", "llama3_documents", "llama4_irope")),
    test_name);

TEST_P(PipelineOfModels, GradientsAreThoseWithoutItWhateverTheMicroBatches) {
  const auto [name, model] = GetParam();
  const MakeModel make = kModels.at(model);
  for (const auto& [rows, size] : {std::pair<int64_t, int64_t>{4, 1}, {4, 2}, {5, 2}}) {
    SCOPED_TRACE(fmt::format("{} rows in micro-batches of {}", rows, size));
    const PipelineSchedule schedule = schedule_named(name, 2, (rows + size - 1) / size);
    const Result result =
        with_pipeline({.make = make, .schedule = schedule, .rows = rows, .micro_batch_size = size});
    // Breadth first sums micro-batches up from the last.
    expect_same_bits(result, without_pipeline(make, rows, size, name == "LoopedBFS"));
    expect_close(result, without_pipeline(make, rows, rows, false));
  }
}

TEST(Pipeline, OtherModelsToo) {
  for (const char* model : {"deepseek_v3", "qwen3"}) {
    for (const char* name : {"Interleaved1F1B", "ZBVZeroBubble"}) {
      SCOPED_TRACE(fmt::format("{} {}", model, name));
      expect_same_bits(with_pipeline({.make = kModels.at(model),
                                      .schedule = schedule_named(name, 2, 3),
                                      .rows = 5,
                                      .micro_batch_size = 2}),
                       without_pipeline(kModels.at(model), 5, 2, false));
    }
  }
}

TEST(Pipeline, RecomputedLayersUnderAutocastToo) {
  for (const char* option : {"1", "2", "op"}) {
    const ActivationCheckpointConfig recompute = {.mode = "selective",
                                                  .selective_ac_option = option};
    for (const char* model : {"llama3_documents", "llama4_irope"}) {
      const MakeModel make = kModels.at(model);
      const Result whole = without_pipeline(make, 5, 2, false, recompute, at::kBFloat16);
      for (const char* name : {"1F1B", "InterleavedZeroBubble", "ZBVZeroBubble"}) {
        SCOPED_TRACE(fmt::format("{} {} recomputed {}", name, model, option));
        expect_same_bits(with_pipeline({.make = make,
                                        .schedule = schedule_named(name, 2, 3),
                                        .rows = 5,
                                        .micro_batch_size = 2,
                                        .recompute = recompute,
                                        .autocast = at::kBFloat16}),
                         whole);
      }
    }
  }
}

TEST(Pipeline, TheLossMayBeMadeByChunks) {
  for (const char* model : {"llama3_documents", "deepseek_v3"}) {
    const Result whole = without_pipeline(kModels.at(model), 5, 2, false);
    for (const char* name : {"GPipe", "1F1B", "ZBVZeroBubble"}) {
      SCOPED_TRACE(fmt::format("{} {}", name, model));
      expect_close(with_pipeline({.make = kModels.at(model),
                                  .schedule = schedule_named(name, 2, 3),
                                  .rows = 5,
                                  .micro_batch_size = 2,
                                  .loss_chunk_size = 10}),
                   whole);
    }
  }
}

TEST(Pipeline, MoreRanksThanMicroBatches) {
  for (const char* name : {"GPipe", "1F1B", "InterleavedZeroBubble", "ZBVZeroBubble"}) {
    const int64_t ranks = schedule_traits(name).stages_per_rank == 1 ? 4 : 3;
    const Result result = with_pipeline(
        {.make = llama3_documents, .schedule = schedule_named(name, ranks, 2), .rows = 2});
    expect_same_bits(result, without_pipeline(llama3_documents, 2, 1, false));
  }
}

TEST(Pipeline, OverAProcessGroup) {
  const PipelineCase c = {.make = llama4_irope,
                          .schedule = schedule_named("InterleavedZeroBubble", 2, 3),
                          .rows = 5,
                          .micro_batch_size = 2};
  Result all;
  std::mutex mutex;
  run_ranks({.pp = 2}, [&](const ParallelGroups& groups) {
    const Result result = run_rank(c, make_group_transport(groups.pipeline));
    const std::lock_guard lock(mutex);
    all.loss += result.loss;
    all.gradients.insert(result.gradients.begin(), result.gradients.end());
  });
  expect_same_bits(all, without_pipeline(llama4_irope, 5, 2, false));
}

/// The stages of a rank, of parts of the model that `make` makes. Their calls go through `around`,
/// if it is given.
std::vector<PipelineStage> stages_of(
    MakeModel make, const PipelineSchedule& schedule, int64_t rank,
    const std::function<void(int64_t stage, const at::Tensor&, const AttentionMasks&)>& around =
        {}) {
  const StageModules split = split_into_stages(make()->pipeline_modules(), schedule.stages, 1, 1);
  std::vector<PipelineStage> stages;
  for (const int64_t number : schedule.stages_of(rank)) {
    const auto part = make();
    part->keep_modules(split[number]);
    part->init_weights(3);
    stages.push_back({number, [=](const at::Tensor& x, const at::Tensor& positions,
                                  const AttentionMasks& masks) {
                        if (around) around(number, positions, masks);
                        return part->forward_part(x, positions, masks);
                      }});
  }
  return stages;
}

class MasksThroughThePipeline : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, MasksThroughThePipeline,
                         testing::Values("GPipe", "1F1B", "Interleaved1F1B", "LoopedBFS",
                                         "InterleavedZeroBubble", "ZBVZeroBubble", "csv"),
                         [](const auto& info) { return "Schedule" + std::string(info.param); });

TEST_P(MasksThroughThePipeline, EveryStageSeesThoseOfItsMicroBatch) {
  struct Seen {
    at::Tensor positions;
    AttentionMasks masks;
  };
  const PipelineBatch batch = batch_of(*llama4_irope(), 5);
  for (const int64_t size : {1, 2}) {
    const PipelineSchedule schedule = schedule_named(GetParam(), 2, (5 + size - 1) / size);
    std::vector<std::vector<Seen>> seen(schedule.stages);
    for_ranks(2, [&](std::unique_ptr<StageTransport> transport) {
      const int64_t rank = transport->rank();
      const auto note = [&](int64_t stage, const at::Tensor& positions,
                            const AttentionMasks& masks) {
        seen[stage].push_back({positions, masks});
      };
      PipelineRuntime(schedule, stages_of(llama4_irope, schedule, rank, note), std::move(transport),
                      {.hidden_size = 16, .micro_batch_size = size})
          .run(batch, [](const at::Tensor& normed, const at::Tensor&) { return normed.sum(); });
    });
    for (int64_t stage = 0; stage < schedule.stages; ++stage) {
      auto call = seen[stage].begin();
      for (const Action& action : schedule.ranks[schedule.rank_of_stage()[stage]]) {
        if (action.kind != ActionKind::kForward || action.stage != stage) continue;
        SCOPED_TRACE(action_text(action));
        const int64_t first = action.micro_batch * size;
        const int64_t rows = std::min<int64_t>(size, 5 - first);
        ASSERT_NE(call, seen[stage].end());
        EXPECT_TRUE(at::equal(call->positions, batch.positions.narrow(0, first, rows)));
        ASSERT_EQ(call->masks.size(), 2U);
        for (const auto& [name, mask] : call->masks) {
          ASSERT_EQ(mask.batch_size(), rows);
          // The row itself: neither another's nor lowered anew.
          for (int64_t row = 0; row < rows; ++row)
            EXPECT_EQ(mask.shared_row(row), batch.masks.at(name).shared_row(first + row)) << name;
        }
        ++call;
      }
      EXPECT_EQ(call, seen[stage].end());
    }
  }
}

TEST(Pipeline, EvaluationGivesTheHiddenStatesOfTheWholeForAnyNumberOfRows) {
  const std::shared_ptr<Model> whole = drawn(llama3_documents);
  for (const int64_t rows : {1, 3, 6}) {
    const PipelineBatch batch = batch_of(*whole, rows);
    for (const char* name : {"1F1B", "ZBVZeroBubble"}) {
      const PipelineSchedule schedule = schedule_named(name, 2, 4);
      std::vector<at::Tensor> states;
      for_ranks(2, [&](std::unique_ptr<StageTransport> transport) {
        const int64_t rank = transport->rank();
        PipelineRuntime(schedule, stages_of(llama3_documents, schedule, rank), std::move(transport),
                        {.hidden_size = 16, .micro_batch_size = 2})
            .evaluate(batch, [&](const at::Tensor& out, const MicroBatch& part) {
              EXPECT_FALSE(out.requires_grad());
              EXPECT_EQ(out.size(0), part.rows);
              states.push_back(out);
            });
      });
      const at::NoGradGuard no_grad;
      const at::Tensor expected =
          whole->hidden_states(batch.tokens, batch.positions, batch.masks, {});
      ASSERT_FALSE(states.empty());
      EXPECT_TRUE(at::allclose(at::cat(states), expected, 1e-5, 1e-6)) << name << " " << rows;
    }
  }
}

TEST(Pipeline, HooksTellWhenAStagesGradientsAreComplete) {
  for (const char* name : {"1F1B", "InterleavedZeroBubble"}) {
    const PipelineSchedule schedule = schedule_named(name, 1, 3);
    const auto whole = drawn(llama3_documents);
    const StageModules split = split_into_stages(whole->pipeline_modules(), schedule.stages, 1, 1);
    std::vector<PipelineStage> stages;
    std::vector<std::shared_ptr<Model>> parts;
    for (int64_t number = 0; number < schedule.stages; ++number) {
      parts.push_back(drawn(llama3_documents));
      parts.back()->keep_modules(split[number]);
      stages.push_back(
          {number, [part = parts.back()](const at::Tensor& x, const at::Tensor& positions,
                                         const AttentionMasks& masks) {
             return part->forward_part(x, positions, masks);
           }});
    }
    std::map<int64_t, int> completing, complete;
    int runs = 0;
    const PipelineHooks hooks = {
        .before_layers = [&](int64_t stage) { runs += stage == 0 ? 1 : 0; },
        .before_backward = [&](int64_t stage, bool completes) { completing[stage] += completes; },
        .gradients_complete =
            [&](int64_t stage) {
              ++complete[stage];
              for (const auto& [parameter_name, parameter] : named_parameters_of(*parts[stage]))
                EXPECT_TRUE(parameter.grad().defined()) << parameter_name;
            }};
    PipelineRuntime runtime(schedule, stages, std::move(make_in_process_transports(1).front()),
                            {.hidden_size = 16, .micro_batch_size = 2, .hooks = hooks});
    const at::Tensor loss = runtime.run(batch_of(*whole, 5), loss_of(parts.back()));
    EXPECT_GT(loss.item<double>(), 0);
    for (int64_t stage = 0; stage < schedule.stages; ++stage) {
      EXPECT_EQ(complete[stage], 1) << name;
      EXPECT_EQ(completing[stage], schedule.name == "1F1B" ? 1 : 0);
    }
    // Forward and backward of three micro-batches.
    EXPECT_EQ(runs, 6);
  }
}

TEST(Pipeline, WeightGradientsWaitForTheirAction) {
  const auto model = drawn(llama3_documents, {.mode = "selective", .selective_ac_option = "2"});
  std::set<std::string> early;
  const PipelineHooks hooks = {.before_layers = [&](int64_t) {
    for (const auto& [name, parameter] : named_parameters_of(*model))
      if (parameter.grad().defined()) early.insert(name);
  }};
  PipelineRuntime runtime(
      schedule_from_csv("0F0,0I0,0F1,0I1,0W1,0W0", "csv"),
      {{0, [&](const at::Tensor& x, const at::Tensor& positions,
               const AttentionMasks& masks) { return model->forward_part(x, positions, masks); }}},
      std::move(make_in_process_transports(1).front()), {.hidden_size = 16, .hooks = hooks});
  runtime.run(batch_of(*model, 2), loss_of(model));
  for (const auto& [name, parameter] : named_parameters_of(*model)) {
    const bool is_product = name.find("attention.w") != std::string::npos ||
                            name.find("feed_forward.w") != std::string::npos ||
                            name == "output.weight";
    EXPECT_EQ(early.contains(name), !is_product) << name;
    EXPECT_TRUE(parameter.grad().defined()) << name;
  }
}

TEST(Pipeline, AuxiliaryLossesAreThoseOfTheWholeBatch) {
  // 5 rows are 2, 2 and 1: each micro-batch counts by its rows.
  const auto gradients = [](const std::vector<int64_t>& micro_batch_sizes) {
    const auto model = drawn(llama4_with_losses);
    const PipelineBatch batch = batch_of(*model, 5);
    model->begin_step(5);
    PipelineRuntime runtime(
        make_schedule("1F1B", 1, 1, static_cast<int64_t>(micro_batch_sizes.size())),
        {{0,
          [&](const at::Tensor& x, const at::Tensor& positions, const AttentionMasks& masks) {
            return model->forward_part(x, positions, masks);
          }}},
        std::move(make_in_process_transports(1).front()),
        {.hidden_size = 16, .micro_batch_size = micro_batch_sizes.front()});
    runtime.run(batch, [&](const at::Tensor& normed, const at::Tensor&) {
      return 0 * model->output(normed).sum();
    });
    Result result;
    result.add(*model);
    return result;
  };
  const Result parts = gradients({2, 2, 1}), whole = gradients({5});
  EXPECT_GT(whole.gradients.at("layers.1.moe.router.gate.weight").abs().max().item<double>(), 1e-5);
  expect_close(parts, whole);
}

TEST(Pipeline, WhatDoesNotFitIsRefused) {
  const auto identity = [](const at::Tensor& x, const at::Tensor&, const AttentionMasks&) {
    return x;
  };
  const PipelineSchedule schedule = make_schedule("1F1B", 1, 1, 2);
  const auto transport = [] { return std::move(make_in_process_transports(1).front()); };
  EXPECT_THROW(PipelineRuntime(schedule, {{1, identity}}, transport(), {}), Error);
  EXPECT_THROW(PipelineRuntime(schedule, {}, transport(), {}), Error);
  PipelineRuntime runtime(schedule, {{0, identity}}, transport(), {});
  const auto model = llama3_causal();
  EXPECT_THROW(runtime.run(batch_of(*model, 3), loss_of(model)), Error);
}

TEST(ModelParts, TogetherAreTheWhole) {
  for (const auto& [name, make] : kModels) {
    SCOPED_TRACE(name);
    const auto whole = drawn(make);
    const PipelineBatch batch = batch_of(*whole, 2);
    std::map<std::string, at::Tensor> parameters;
    double flops = 0;
    size_t blocks = 0;
    at::Tensor h = batch.tokens, logits;
    for (const auto& modules : split_into_stages(whole->pipeline_modules(), 4, 1, 1)) {
      const auto part = make();
      part->keep_modules(modules);
      part->init_weights(3);
      EXPECT_EQ(part->pipeline_modules(), modules);
      for (const auto& item : checkpoint_tensors_of(*part))
        EXPECT_TRUE(parameters.insert(item).second) << item.first;
      flops += part->flops_per_token(kSeqLen);
      blocks += part->blocks().size();
      h = part->forward_part(h, batch.positions, batch.masks);
      if (modules.back() == "output") logits = part->output(h);
    }
    EXPECT_TRUE(at::equal(logits, whole->forward(batch.tokens, batch.positions, batch.masks)));
    EXPECT_TRUE(at::equal(h, whole->forward_part(batch.tokens, batch.positions, batch.masks)));
    EXPECT_NEAR(flops, whole->flops_per_token(kSeqLen), 1);
    EXPECT_EQ(blocks, whole->blocks().size());
    const auto all = checkpoint_tensors_of(*whole);
    EXPECT_EQ(parameters.size(), all.size());
    for (const auto& [parameter_name, value] : all)
      EXPECT_TRUE(at::equal(parameters.at(parameter_name), value)) << parameter_name;
  }
}

TEST(ModelParts, WhatCannotBeCutSaysWhy) {
  const auto refusal = [](const Model& model) -> std::string {
    try {
      check_pipeline(model, "it");
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(refusal(*llama3_causal()), "accepted");
  const llama3::Sizes tied = {.dim = 16,
                              .n_layers = 2,
                              .n_heads = 2,
                              .n_kv_heads = 1,
                              .vocab_size = kVocabulary,
                              .max_seq_len = kSeqLen,
                              .enable_weight_tying = true};
  const auto model =
      std::make_shared<llama3::Transformer>(tied, AttentionEngine::kAuto, at::TensorOptions());
  EXPECT_THAT(refusal(*model), testing::HasSubstr("tied weights"));
  EXPECT_THROW(model->keep_modules({"layers.0"}), Error);
  const auto part = llama3_causal();
  EXPECT_THROW(part->keep_modules({"layers.6"}), Error);
  part->keep_modules({"layers.1"});
  const PipelineBatch batch = batch_of(*part, 1);
  EXPECT_THROW(part->forward(batch.tokens, batch.positions, batch.masks), Error);
}

}  // namespace
}  // namespace coeus
