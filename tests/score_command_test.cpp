// `coeus score` from outside. What it computes is tested beside train/score.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "coeus/base/temporary_folder.h"
#include "run_command.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class ScoreCommand : public testing::Test {
 protected:
  Outcome score(const std::string& input, const std::string& flags) const {
    return run_coeus("score configs/llama3/debug_model_flex_attn.toml --input '" +
                     folder_.write("in.jsonl", input).string() + "' --output '" + out_.string() +
                     "' --job.dump_folder='" + (folder_ / "run").string() + "' " + flags);
  }

  const TemporaryFolder folder_;
  const std::filesystem::path out_ = folder_ / "out.jsonl";
};

TEST_F(ScoreCommand, SaysLossAndPerplexityAndThatWeightsAreUntrained) {
  const Outcome outcome =
      score("{\"tokens\": [1, 2, 3, 4]}\n{\"tokens\": [5, 6, 7, 8], \"documents\": [2, 2]}\n", "");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output,
              AllOf(HasSubstr("scored 6 tokens of 2 lines: loss "), HasSubstr(", perplexity "),
                    HasSubstr("without the 1 first tokens of later documents: loss "),
                    HasSubstr("untrained weights, drawn by training.seed = 0")));
  EXPECT_THAT(file_text(out_),
              testing::MatchesRegex("(\\{\"logprobs\": \\[[-0-9., ]*\\]\\}\n){2}"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run")) << "nothing is written there";
}

TEST_F(ScoreCommand, PipesAreTakenAndTheOutputIsAloneOnStandardOutput) {
  score("{\"tokens\": [1, 2, 3, 4]}\n", "");
  const Outcome piped = run_command(
      "printf '{\"tokens\": [1, 2, 3, 4]}' | '" COEUS_BINARY
      "' score configs/llama3/debug_model_flex_attn.toml --input - --output - 2>/dev/null");
  EXPECT_EQ(piped.exit_code, 0);
  EXPECT_EQ(piped.output, file_text(out_));
}

TEST_F(ScoreCommand, WeightsNeedNoFurtherFlagAndAreUsed) {
  const Outcome trained = run_coeus(
      "train configs/llama3/debug_model_flex_attn.toml --training.steps=2 --training.seq_len=32 "
      "--training.local_batch_size=1 --checkpoint.enable --job.dump_folder='" +
      (folder_ / "trained").string() + "'");
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  const Outcome outcome = score(
      "{\"tokens\": [1, 2, 3, 4]}\n",
      "--checkpoint.initial_load_path='" + (folder_ / "trained/checkpoint/step-2").string() + "'");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("Scoring with "), Not(HasSubstr("untrained"))));
}

TEST_F(ScoreCommand, MistakesExitAsTheirKindDoesAndLeaveNoOutput) {
  const Outcome bad_line = score("{\"tokens\": [1, 2]}\n{\"tokens\": [1, 2048]}\n", "");
  EXPECT_EQ(bad_line.exit_code, 14);
  EXPECT_THAT(bad_line.output, HasSubstr("in.jsonl:2: token 1 is 2048"));
  EXPECT_EQ(score("{\"tokens\": [1, 2]}\n", "--training.seed=x").exit_code, 2);
  EXPECT_EQ(score("{\"tokens\": [1, 2]}\n", "--checkpoint.initial_load_path=nowhere").exit_code,
            13);
  EXPECT_EQ(score("{\"text\": \"a\"}\n", "--model.hf_assets_path=nowhere").exit_code, 14);
  EXPECT_EQ(score("{\"tokens\": [1, 2]}\n", "--model.flavor=405B").exit_code, 15);
  EXPECT_FALSE(std::filesystem::exists(out_));
  EXPECT_FALSE(std::filesystem::exists(out_.string() + ".partial"));
  EXPECT_EQ(run_coeus("score configs/llama3/debug_model.toml --input x").exit_code, 2);
}

}  // namespace
}  // namespace coeus
