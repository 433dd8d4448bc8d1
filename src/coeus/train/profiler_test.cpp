#include "coeus/train/profiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"
#include "coeus/base/trace_log.h"
#include "coeus/comm/test_ranks.h"
#include "coeus/models/registry.h"
#include "coeus/models/shard_parameters.h"
#include "coeus/nn/init.h"
#include "coeus/nn/parameter.h"
#include "coeus/parallel/activation_checkpoint.h"

namespace coeus {
namespace {

using testing::Contains;
using testing::UnorderedElementsAre;

ProfilingConfig every(int64_t freq, int64_t warmup = 1, int64_t active = 1) {
  ProfilingConfig config;
  config.enable_profiling = true;
  config.profile_freq = freq;
  config.profiler_warmup = warmup;
  config.profiler_active = active;
  return config;
}

std::vector<std::string> files_in(const std::filesystem::path& folder) {
  std::vector<std::string> files;
  if (std::filesystem::exists(folder))
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
      if (entry.is_regular_file())
        files.push_back(std::filesystem::relative(entry.path(), folder).string());
  return files;
}

struct Event {
  double begin = 0;  ///< us
  double end = 0;
};

/// A trace's ranges by category and name.
struct Trace {
  std::map<std::string, std::vector<Event>> own, operations, waits;
  std::map<std::string, int> rows;
};

Trace read(const std::filesystem::path& file) {
  const auto json = nlohmann::json::parse(std::ifstream(file));
  Trace trace;
  for (const auto& event : json.at("traceEvents")) {
    if (event.value("name", "") == "thread_name" && event.at("pid") == 1'000'000'000)
      ++trace.rows[event.at("args").at("name")];
    if (event.value("ph", "") != "X") continue;
    const std::string category = event.value("cat", ""), name = event.at("name");
    const double begin = event.at("ts");
    const Event found = {begin, begin + event.at("dur").get<double>()};
    if (category == "coeus") trace.own[name].push_back(found);
    if (category == "cpu_op") trace.operations[name].push_back(found);
    if (category == "user_annotation") trace.waits[name].push_back(found);
  }
  return trace;
}

TEST(Profiler, SavesTheLastStepsOfEverySoMany) {
  const TemporaryFolder folder;
  // Long enough for the small difference between LibTorch's clock and ours not to matter.
  const at::Tensor work = at::ones({500, 500});
  {
    Profiler profiler(every(4, 1, 2), folder.path(), 0, 5);
    for (int step = 1; step <= 11; ++step) {
      at::mm(work, work);
      EXPECT_EQ(TraceLog::is_on(), (step - 1) % 4 >= 2) << step;
      profiler.step();
    }
    profiler.finish();
  }
  // The last, of step 11 alone, because training ended.
  EXPECT_THAT(files_in(folder.path()),
              UnorderedElementsAre("profile_traces/iteration_4/rank5_trace.json",
                                   "profile_traces/iteration_8/rank5_trace.json",
                                   "profile_traces/iteration_11/rank5_trace.json"));
  const Trace trace = read(folder.path() / "profile_traces/iteration_8/rank5_trace.json");
  ASSERT_EQ(trace.own.size(), 2U);
  ASSERT_EQ(trace.operations.at("aten::mm").size(), 2U);
  for (int i = 0; i < 2; ++i) {
    const Event step = trace.own.at(fmt::format("step {}", 7 + i))[0];
    const Event operation = trace.operations.at("aten::mm")[i];
    const double middle = (operation.begin + operation.end) / 2;
    EXPECT_LT(step.begin, middle);
    EXPECT_GT(step.end, middle);
  }
}

TEST(Profiler, GoesOnWhereTheRunGoesOn) {
  const TemporaryFolder folder;
  Profiler profiler(every(5), folder.path(), 8);
  profiler.step();
  EXPECT_TRUE(TraceLog::is_on());
  profiler.step();
  EXPECT_THAT(files_in(folder.path()),
              UnorderedElementsAre("profile_traces/iteration_10/rank0_trace.json"));
}

TEST(Profiler, DropsWhatIsNotSavedAndDoesNothingWhenOff) {
  const TemporaryFolder folder;
  { const Profiler recording(every(1, 0), folder.path(), 0); }
  { const Profiler warming_up(every(2, 1), folder.path(), 0); }
  EXPECT_FALSE(TraceLog::is_on());
  Profiler off(ProfilingConfig{.profile_freq = 1}, folder.path(), 0);
  off.step();
  off.finish();
  EXPECT_THAT(files_in(folder.path()), testing::IsEmpty());
  EXPECT_THROW(Profiler(every(3, 3, 1), folder.path(), 0), ConfigError);
}

/// One step of two ranks with FSDP and a recomputed layer, traced by the first.
Trace trace_of_training(const TemporaryFolder& folder) {
  run_ranks({.dp_shard = 2}, [&](const ParallelGroups& groups) {
    std::shared_ptr<Model> model;
    {
      const nn::WithoutMemory without_memory;
      model = build_model({.name = "llama3",
                           .flavor = "debugmodel",
                           .seq_len = 64,
                           .tensors = at::TensorOptions()});
    }
    apply_activation_checkpoint(model->blocks(), {.mode = "selective"});
    ShardedParameters parameters(*model);
    Fsdp fsdp(groups, parameters, {});
    shard_parameters(*model, fsdp);
    const auto slices = parameters.slices();
    {
      const nn::SlicedInit own_slices(slices);
      model->init_weights(1);
    }
    std::optional<Profiler> profiler;
    if (groups.mesh.rank() == 0) {
      profiler.emplace(every(2), folder.path(), 0);
      profiler->watch(*model);
    }
    const at::Tensor tokens = at::arange(64).view({1, 64});
    const std::vector<SequenceLayout> rows = {
        SequenceLayout::from_document_lengths(std::vector<int64_t>{64})};
    for (int step = 0; step < 2; ++step) {
      groups.world->barrier("steps");
      fsdp.begin_pass(true);
      model
          ->loss_sum(tokens, tokens, at::arange(64, at::kInt).view({1, 64}),
                     model->get_attention_masks(rows))
          .backward();
      fsdp.end_pass();
      if (profiler) profiler->step();
    }
  });
  return read(folder.path() / "profile_traces/iteration_2/rank0_trace.json");
}

std::vector<Event> named(const std::map<std::string, std::vector<Event>>& events,
                         const std::string& begin) {
  std::vector<Event> found;
  for (const auto& [name, of_name] : events)
    if (name.starts_with(begin)) found.insert(found.end(), of_name.begin(), of_name.end());
  return found;
}

TEST(Profiler, ATraceShowsLayersOperationsAndExchangesSideBySide) {
  const TemporaryFolder folder;
  const Trace trace = trace_of_training(folder);
  for (const char* name : {"layers.0 forward", "layers.0 backward", "layers.5 forward",
                           "layers.5 backward", "output forward", "norm backward"}) {
    ASSERT_EQ(trace.own.count(name), 1U) << name;
    EXPECT_EQ(trace.own.at(name).size(), 1U) << name;
    EXPECT_GT(trace.own.at(name)[0].end, trace.own.at(name)[0].begin) << name;
  }
  EXPECT_LE(trace.own.at("layers.0 forward")[0].end, trace.own.at("layers.1 forward")[0].begin);
  EXPECT_LE(trace.own.at("layers.1 backward")[0].end, trace.own.at("layers.0 backward")[0].end);
  EXPECT_EQ(trace.rows.count("layers"), 1U);
  // Groups of the same ranks are one.
  EXPECT_EQ(trace.rows.count("exchanges over world"), 1U);

  const std::vector<Event> gathers = named(trace.own, "all_gather layers.");
  const std::vector<Event> reductions = named(trace.own, "reduce_scatter layers.");
  ASSERT_FALSE(gathers.empty());
  ASSERT_FALSE(reductions.empty());
  EXPECT_FALSE(named(trace.waits, "wait for layers.").empty());
  EXPECT_TRUE(named(trace.waits, "gloo").empty());
  const auto lie_beside = [&](const std::vector<Event>& exchanges, const std::string& layers) {
    int count = 0;
    for (const Event& exchange : exchanges) {
      EXPECT_GT(exchange.end, exchange.begin);
      for (const auto& [name, ranges] : trace.own)
        if (name.starts_with("layers.") && name.ends_with(layers))
          for (const Event& layer : ranges)
            count += exchange.begin < layer.end && layer.begin < exchange.end;
    }
    return count;
  };
  EXPECT_GT(lie_beside(gathers, " forward"), 0);
  EXPECT_GT(lie_beside(reductions, " backward"), 0);
  // LibTorch's own clock and ours are one.
  const Event forward = trace.own.at("layers.0 forward")[0];
  int inside = 0;
  for (const auto& [name, ranges] : trace.operations)
    for (const Event& operation : ranges)
      inside += forward.begin <= operation.begin && operation.end <= forward.end;
  EXPECT_GT(inside, 10);
}

}  // namespace
}  // namespace coeus
