// What of a run does not depend on its layout, beside the loss.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"
#include "layout_run.h"

namespace coeus {
namespace {

const LayoutModel kLlama3 = {"llama3", "debugmodel_flex_attn"};
const LayoutModel kQwen3 = {"qwen3", "debugmodel_moe_small", true};

Layout layout_of(int ranks, int data_ranks, const std::string& flags) {
  Layout layout;
  layout.ranks = ranks;
  layout.data_ranks = data_ranks;
  layout.flags = flags;
  return layout;
}

const Layout kOne;
const Layout kFsdp4 = layout_of(4, 4, "--parallelism.data_parallel_shard_degree=4");
const Layout kHsdp = layout_of(4, 4,
                               "--parallelism.data_parallel_shard_degree=2 "
                               "--parallelism.data_parallel_replicate_degree=2");
const Layout kDdp4 = layout_of(4, 4,
                               "--parallelism.data_parallel_shard_degree=1 "
                               "--parallelism.data_parallel_replicate_degree=4");
const Layout kTensorAndShard = layout_of(4, 2,
                                         "--parallelism.data_parallel_shard_degree=2 "
                                         "--parallelism.tensor_parallel_degree=2");
const Layout kPipeline = layout_of(2, 1,
                                   "--parallelism.data_parallel_shard_degree=1 "
                                   "--parallelism.pipeline_parallel_degree=2");
const Layout kExperts = layout_of(4, 4, "--parallelism.expert_parallel_degree=4");

class LayoutChange : public testing::Test {
 protected:
  /// Five steps in one layout, saved, and five more in another.
  void expect_goes_on(const LayoutModel& model, const Layout& first, const Layout& then) {
    const std::string constant = "--lr_scheduler.decay_ratio=0 ";
    const std::string save = constant +
                             "--checkpoint.enable --checkpoint.interval=5 "
                             "--checkpoint.no_last_save_model_only --checkpoint.async_mode=async ";
    const std::filesystem::path folder = temporary_.path() / "changed";
    train_in_layout(model, first, save + "--training.steps=5", folder);
    const LossCurve changed = train_in_layout(model, then, save, folder);
    expect_same(changed, train_in_layout(model, kOne, constant, temporary_.path() / "whole"));
  }
  const TemporaryFolder temporary_;
};

TEST_F(LayoutChange, DataParallelismAgreesToTheBitHoweverItIsSharded) {
  const LossCurve fsdp = train_in_layout(kLlama3, kFsdp4, "", temporary_.path() / "fsdp");
  const LossCurve hsdp = train_in_layout(kLlama3, kHsdp, "", temporary_.path() / "hsdp");
  const LossCurve ddp = train_in_layout(kLlama3, kDdp4, "", temporary_.path() / "ddp");
  expect_same(fsdp, hsdp, {.bitwise = true});
  expect_same(fsdp, ddp, {.bitwise = true});
}

TEST_F(LayoutChange, ARunGoesOnFromShardsInTensorParallelism) {
  expect_goes_on(kLlama3, kFsdp4, kTensorAndShard);
}

TEST_F(LayoutChange, ARunGoesOnFromAPipelineInOneProcess) {
  expect_goes_on(kLlama3, kPipeline, kOne);
}

TEST_F(LayoutChange, ARunGoesOnFromSpreadExpertsInAPipeline) {
  expect_goes_on(kQwen3, kExperts, kPipeline);
}

/// A rank's share of what the parameters' table of step 1 says is held between steps, in MiB.
double held_mebibytes(const std::string& log) {
  double sum = 0;
  int found = 0;
  for (const char* const purpose : {"parameters", "gradients", "optimizer", "other tensors"}) {
    std::smatch match;
    const std::regex line("\n  " + std::string(purpose) + " +([0-9.]+) MiB");
    if (!std::regex_search(log, match, line)) continue;
    sum += std::stod(match[1]);
    ++found;
  }
  EXPECT_EQ(found, 4) << log;
  return sum;
}

TEST_F(LayoutChange, ARankHoldsItsShareOfParametersGradientsAndOptimizerAlone) {
  // Parameters, gradients and two moments in float32.
  constexpr double kWhole = 6'163'712 * 16 / 1048576.0;
  for (const int ranks : {1, 2, 4, 8}) {
    const Layout layout =
        layout_of(ranks, ranks, fmt::format("--parallelism.data_parallel_shard_degree={}", ranks));
    const Outcome run = run_in_layout(kLlama3, layout, "--training.steps=1",
                                      temporary_.path() / std::to_string(ranks));
    ASSERT_EQ(run.exit_code, 0) << run.output;
    EXPECT_NEAR(held_mebibytes(run.output), kWhole / ranks, 0.05 * kWhole / ranks) << ranks;
  }
}

TEST_F(LayoutChange, ValidationIsOfTheWholeBatch) {
  const std::string validate =
      "--validation.enable --validation.dataset=synthetic "
      "--validation.seq_len=128 --validation.steps=2 --validation.freq=5 ";
  const auto losses = [&](const Layout& layout, const char* name) {
    const Outcome run = run_in_layout(
        kLlama3, layout,
        validate + fmt::format("--validation.local_batch_size={}", 8 / layout.data_ranks),
        temporary_.path() / name);
    EXPECT_EQ(run.exit_code, 0) << run.output;
    std::vector<std::string> lines;
    const std::regex line("validate step: +[0-9]+ +loss: +[0-9.]+");
    for (std::sregex_iterator at(run.output.begin(), run.output.end(), line), end; at != end; ++at)
      lines.push_back(at->str());
    return lines;
  };
  const auto one = losses(kOne, "one");
  ASSERT_EQ(one.size(), 3U);
  EXPECT_EQ(losses(kTensorAndShard, "tp"), one);
  EXPECT_EQ(losses(kPipeline, "pp"), one);
  EXPECT_EQ(losses(layout_of(1, 1, "--training.loss_chunk_size=100"), "by_chunks"), one);
}

/// What a run says of its exchanges: kind, group, calls and MiB of each.
std::vector<std::string> exchanges(const std::string& log) {
  std::vector<std::string> lines;
  const std::regex line("\n(  [a-z_]+ +[a-z_]+ +[0-9.]+ +[0-9.]+) +[0-9.]+(?=\n)");
  for (std::sregex_iterator at(log.begin(), log.end(), line), end; at != end; ++at)
    lines.push_back((*at)[1]);
  return lines;
}

TEST_F(LayoutChange, ALossByChunksGathersAndReducesItsWeightOnce) {
  const auto of_run = [&](const Layout& layout, const std::string& flags) {
    const TemporaryFolder folder;
    const Outcome run =
        run_in_layout(kLlama3, layout, "--training.steps=2 " + flags, folder.path() / "run");
    EXPECT_EQ(run.exit_code, 0) << run.output;
    return exchanges(run.output);
  };
  const std::string chunks = "--training.loss_chunk_size=30";
  const auto at_once = of_run(kFsdp4, "");
  EXPECT_GE(at_once.size(), 3U);
  EXPECT_EQ(of_run(kFsdp4, chunks), at_once);
  // Where logits are spread over ranks, each chunk is exchanged.
  EXPECT_NE(of_run(kTensorAndShard, chunks), of_run(kTensorAndShard, ""));
}

TEST_F(LayoutChange, DegreesThatDoNotFitAreRefusedBeforeAnythingIsMade) {
  const Layout wrong = layout_of(2, 1, "--parallelism.tensor_parallel_degree=3");
  const Outcome run = run_in_layout(kLlama3, wrong, "", temporary_.path() / "wrong");
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.output, testing::HasSubstr("do not divide the 2 ranks"));
  EXPECT_FALSE(std::filesystem::exists(temporary_.path() / "wrong"));
}

}  // namespace
}  // namespace coeus
