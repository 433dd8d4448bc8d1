// `coeus launch` from outside. What it does to its ranks is tested beside its code.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_command.h"
#include "run_folder_fixture.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;

class LaunchCommand : public RunTest {};

TEST_F(LaunchCommand, RunsTrainInEveryRankWithItsFlags) {
  for (const char* separator : {"", "-- "}) {
    const Outcome outcome = run_coeus(fmt::format(
        "launch -n 2 {}train configs/llama3/debug_model.toml --model.nosuch=1", separator));
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_THAT(outcome.output,
                AllOf(ContainsRegex("\n\\[rank1\\]: \\[coeus\\] .* ERROR - --model.nosuch"),
                      ContainsRegex("rank [01] of 2 failed first: exit code 2")));
  }
}

TEST_F(LaunchCommand, OfOneRankIsARunByItself) {
  const Outcome outcome = run_coeus(
      "launch -n 1 --log-dir '" + (folder_ / "logs").string() +
      "' train configs/llama3/debug_model.toml --training.dataset=synthetic --training.steps=1 "
      "--training.seq_len=32 --training.local_batch_size=1 --job.dump_folder='" +
      (folder_ / "run").string() + "'");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("step:  1  loss:"));
  EXPECT_THAT(file_text(folder_ / "logs/rank0.log"), HasSubstr("step:  1  loss:"));
}

TEST_F(LaunchCommand, RefusesWhatItCannotStart) {
  EXPECT_EQ(run_coeus("launch train x.toml").exit_code, 2);
  for (const char* arguments : {"-n 0 train x.toml", "-n 2 --log-rank 2 train x.toml",
                                "-n 2 --nnodes 2 train x.toml", "-n 2 mask causal", "-n 2"}) {
    const Outcome outcome = run_coeus("launch " + std::string(arguments));
    EXPECT_EQ(outcome.exit_code, 2) << arguments;
    EXPECT_THAT(outcome.output, HasSubstr("[coeus launch]")) << arguments;
  }
}

}  // namespace
}  // namespace coeus
