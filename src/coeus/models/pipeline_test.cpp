// Models cut into pipeline stages: losses and gradients are those of the whole.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <mutex>

#include "coeus/base/error.h"
#include "coeus/comm/test_ranks.h"
#include "coeus/models/pipeline_run_test.h"
#include "coeus/parallel/pipeline/make_schedule.h"

namespace coeus {
namespace {

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

}  // namespace
}  // namespace coeus
