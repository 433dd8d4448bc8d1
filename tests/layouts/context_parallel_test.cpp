// The same loss however the tokens of a row are spread: every model, method, balancer, number of
// ranks, kind of positions and length, with other parallelism beside it. CI trains cases that pair
// every two of these, of each family by the flavour that asks for the most;
// COEUS_CONTEXT_STRENGTH=2 takes every flavour, and 3 puts any three together.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <set>

#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"
#include "covering_array.h"
#include "layout_run.h"

namespace coeus {
namespace {

using testing::HasSubstr;

enum Factor { kModel, kMethod, kBalancer, kDegree, kPositions, kBeside, kLength };

const std::vector<std::string> kMethods = {"allgather", "ring", "alltoall", "needed", "auto"};
const std::vector<std::string> kBalancers = {"none", "headtail", "per_document", "ptrr", "joint"};
const std::vector<int> kDegrees = {2, 3, 4};
const std::vector<std::string> kKindsOfPositions = {"sequence", "document"};
const std::vector<int> kLengths = {101, 128};

/// What else ranks share out, two ways.
struct Beside {
  std::string name;
  int ranks;
  int data_ranks;
  std::string flags;
};
const std::vector<Beside> kBesides = {
    {"alone", 1, 1, " --parallelism.data_parallel_shard_degree=1"},
    {"fsdp", 2, 2, " --parallelism.data_parallel_shard_degree=2"},
    {"tp", 2, 1,
     " --parallelism.data_parallel_shard_degree=1 --parallelism.tensor_parallel_degree=2"},
    {"pp", 2, 1,
     " --parallelism.data_parallel_shard_degree=1 --parallelism.pipeline_parallel_degree=2"},
};

/// How many choices meet in some case; nothing: what CI has time for.
std::optional<int> asked_strength() {
  const char* const strength = std::getenv("COEUS_CONTEXT_STRENGTH");
  return strength == nullptr ? std::nullopt : std::optional(std::atoi(strength));
}

const std::vector<LayoutModel>& models() {
  static const std::vector<LayoutModel> in_ci = {{"llama3", "debugmodel_flex_attn"},
                                                 {"llama4", "debugmodel_irope", true},
                                                 {"deepseek_v3", "debugmodel_flex_attn", true},
                                                 {"qwen3", "debugmodel_moe_small", true}};
  return asked_strength() ? layout_models() : in_ci;
}

const LayoutModel& model_of(const Choices& c) { return models().at(c[kModel]); }

/// Two rows of a few steps, so that all of a pairing's runs fit into CI.
constexpr size_t kSteps = 6;
std::string flags_of(const std::string& positions, int length, int data_ranks) {
  return fmt::format(
      "--training.positions={} --training.seq_len={} --training.local_batch_size={} "
      "--training.steps={} ",
      positions, length, 2 / data_ranks, kSteps);
}

Layout layout_of(const Choices& c) {
  const Beside& beside = kBesides[c[kBeside]];
  Layout layout;
  layout.ranks = kDegrees[c[kDegree]] * beside.ranks;
  layout.data_ranks = beside.data_ranks;
  layout.flags =
      beside.flags + fmt::format(
                         " --parallelism.context_parallel_degree={}"
                         " --parallelism.context_parallel_method={}"
                         " --parallelism.context_parallel_load_balancer={}"
                         " --parallelism.check_context_parallel_plan",
                         kDegrees[c[kDegree]], kMethods[c[kMethod]], kBalancers[c[kBalancer]]);
  return layout;
}

std::string name_of(const Choices& c) {
  return fmt::format("{} cp {} {} {} {} {} {}", model_of(c).label(), kDegrees[c[kDegree]],
                     kMethods[c[kMethod]], kBalancers[c[kBalancer]],
                     kKindsOfPositions[c[kPositions]], kBesides[c[kBeside]].name,
                     kLengths[c[kLength]]);
}

std::vector<Choices> cases() {
  const auto levels = {models().size(), kMethods.size(),          kBalancers.size(),
                       kDegrees.size(), kKindsOfPositions.size(), kBesides.size(),
                       kLengths.size()};
  return covering_array({levels.begin(), levels.end()}, asked_strength().value_or(2),
                        [](const Choices&) { return true; });
}

/// The cases of one model, which share the runs of one process.
class ContextParallelLoss : public testing::TestWithParam<int> {
 protected:
  const LossCurve& of_one_process(const Choices& c) {
    LossCurve& curve = curves_[{c[kPositions], c[kLength]}];
    if (curve.empty())
      curve = train_in_layout(
          model_of(c), {}, flags_of(kKindsOfPositions[c[kPositions]], kLengths[c[kLength]], 1),
          temporary_.path() / fmt::format("one-{}-{}", c[kPositions], c[kLength]));
    return curve;
  }
  const TemporaryFolder temporary_;

 private:
  std::map<std::pair<int, int>, LossCurve> curves_;
};

TEST_P(ContextParallelLoss, IsThatOfOneProcess) {
  int number = 0;
  for (const Choices& c : cases()) {
    if (c[kModel] != GetParam()) continue;
    SCOPED_TRACE(name_of(c));
    const LossCurve& one = of_one_process(c);
    ASSERT_EQ(one.size(), kSteps);
    const Layout layout = layout_of(c);
    const LossCurve many = train_in_layout(
        model_of(c), layout,
        flags_of(kKindsOfPositions[c[kPositions]], kLengths[c[kLength]], layout.data_ranks),
        temporary_.path() / fmt::format("many-{}", number++));
    expect_same(one, many);
  }
  EXPECT_GT(number, 0);
}

INSTANTIATE_TEST_SUITE_P(Models, ContextParallelLoss,
                         testing::Range(0, static_cast<int>(models().size())),
                         [](const testing::TestParamInfo<int>& info) {
                           return as_name(models()[info.param].label());
                         });

TEST(CoveringArray, HasEveryPairOfChoicesThatIsAllowed) {
  const auto allowed = [](const Choices& c) { return c[0] != 1 || c[2] != 0; };
  const std::vector<Choices> array = covering_array({3, 2, 4}, 2, allowed);
  std::set<std::vector<int>> pairs;
  for (const Choices& c : array) {
    EXPECT_TRUE(allowed(c));
    pairs.insert({0, c[0], 1, c[1]});
    pairs.insert({0, c[0], 2, c[2]});
    pairs.insert({1, c[1], 2, c[2]});
  }
  EXPECT_EQ(pairs.size(), 6U + 11U + 8U);
  EXPECT_LE(array.size(), 14U);
}

class ContextParallelRun : public testing::Test {
 protected:
  Outcome run(int ranks, const std::string& flags) {
    Layout layout;
    layout.ranks = ranks;
    return run_in_layout({"llama3", "debugmodel_flex_attn"}, layout,
                         "--training.local_batch_size=2 --training.steps=2 " + flags,
                         temporary_.path() / "run");
  }
  const TemporaryFolder temporary_;
};

TEST_F(ContextParallelRun, RefusesRowsThatLeaveRanksWithoutTokens) {
  const Outcome outcome = run(4, "--parallelism.context_parallel_degree=4 --training.seq_len=3");
  EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("a row has only 3 tokens"));
}

TEST_F(ContextParallelRun, RefusesABalancerThatThereIsNot) {
  const Outcome outcome = run(2,
                              "--parallelism.context_parallel_degree=2 "
                              "--parallelism.context_parallel_load_balancer=even");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.output, HasSubstr("\"per_document\""));
}

TEST_F(ContextParallelRun, PredictsFurtherTokensThatOtherRanksHave) {
  const LayoutModel model = {"deepseek_v3", "debugmodel_flex_attn", true};
  const std::string rows =
      "--training.local_batch_size=2 --training.seq_len=101 --model.num_mtp_layers=2 "
      "--training.positions=document ";
  Layout layout;
  layout.ranks = 3;
  layout.flags = "--parallelism.context_parallel_degree=3 ";
  expect_same(train_in_layout(model, {}, rows, temporary_.path() / "one"),
              train_in_layout(model, layout, rows, temporary_.path() / "three"));
}

TEST_F(ContextParallelRun, EightRanksShareRowsOfAnOddLength) {
  const LayoutModel model = {"llama4", "debugmodel_irope", true};
  const std::string rows = "--training.local_batch_size=1 --training.seq_len=301 ";
  Layout layout;
  layout.ranks = 8;
  layout.flags = "--parallelism.context_parallel_degree=8 ";
  expect_same(train_in_layout(model, {}, rows, temporary_.path() / "one"),
              train_in_layout(model, layout, rows, temporary_.path() / "eight"));
}

TEST_F(ContextParallelRun, BalancesThePassesOfAPipelineAndOfAccumulationAlike) {
  const LayoutModel irope = {"llama4", "debugmodel_irope", true};
  const std::string rows = "--training.local_batch_size=4 --training.positions=document ";
  const LossCurve one = train_in_layout(irope, {}, rows, temporary_.path() / "one");
  Layout pipeline;
  pipeline.ranks = 4;
  pipeline.flags =
      "--parallelism.context_parallel_degree=2 --parallelism.pipeline_parallel_degree=2 "
      "--parallelism.pipeline_parallel_schedule=ZBVZeroBubble";
  expect_same(one, train_in_layout(irope, pipeline, rows, temporary_.path() / "pipeline"));
  Layout accumulation;
  accumulation.ranks = 2;
  accumulation.flags = "--parallelism.context_parallel_degree=2";
  expect_same(one, train_in_layout(irope, accumulation,
                                   "--training.local_batch_size=1 --training.global_batch_size=4 "
                                   "--training.positions=document ",
                                   temporary_.path() / "accumulation"));
}

TEST_F(ContextParallelRun, RecomputesLayersWithTheirExchanges) {
  const LayoutModel model = {"llama3", "debugmodel_flex_attn"};
  const std::string rows = "--training.local_batch_size=2 --training.seq_len=101 ";
  const LossCurve one = train_in_layout(model, {}, rows, temporary_.path() / "one");
  const std::string by_operation = "selective --activation_checkpoint.selective_ac_option=op";
  for (const auto& [method, mode] : {std::pair<std::string, std::string>{"allgather", "full"},
                                     {"ring", by_operation},
                                     {"alltoall", by_operation},
                                     {"needed", "full"}}) {
    Layout layout;
    layout.ranks = 2;
    layout.flags = "--parallelism.context_parallel_degree=2 --activation_checkpoint.mode=" + mode +
                   " --parallelism.context_parallel_method=" + method;
    SCOPED_TRACE(layout.flags);
    expect_same(one, train_in_layout(model, layout, rows, temporary_.path() / method));
  }
}

}  // namespace
}  // namespace coeus
