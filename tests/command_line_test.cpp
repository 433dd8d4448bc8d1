// The built binary from outside: what it prints and the exit codes that callers rely on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "run_command.h"
#include "run_folder_fixture.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class CommandLine : public RunTest {
 protected:
  static Outcome coeus(const std::string& arguments) { return run_coeus(arguments); }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }

  /// Flags of a run of three short steps into `folder_`/name.
  std::string short_run(const std::string& name) const {
    return "configs/llama3/debug_model.toml --training.dataset=synthetic --training.steps=3 "
           "--training.seq_len=32 --training.local_batch_size=1 --metrics.log_freq=1 "
           "--job.dump_folder=" +
           (folder_ / name).string();
  }
};

TEST_F(CommandLine, VersionAndHelpOfEveryCommand) {
  EXPECT_THAT(coeus("--version").output, HasSubstr("coeus 0."));
  for (const char* command :
       {"train", "launch", "config", "generate", "score", "tokenizer", "compare", "mask"}) {
    const Outcome help = coeus(std::string(command) + " --help");
    EXPECT_EQ(help.exit_code, 0) << command;
    EXPECT_THAT(help.output, HasSubstr("coeus " + std::string(command))) << command;
  }
  EXPECT_EQ(coeus("").exit_code, 2);
  EXPECT_EQ(coeus("trian").exit_code, 2);
}

TEST_F(CommandLine, TrainingShowsItsMasksAndSaysWhichEngineComputesThem) {
  const Outcome outcome =
      coeus("train " + short_run("run") +
            " --model.show_masks --attention.engine=check '--model.mask=sliding_window(9)'");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output,
              AllOf(HasSubstr("masks of the first batch:"),
                    HasSubstr("1 rows of 32 queries and 32 keys, 252 pairs visible"),
                    HasSubstr("row 0:"), HasSubstr("some, · none")));
  EXPECT_THAT(outcome.output, HasSubstr("attention under mask \""));
  EXPECT_THAT(outcome.output, HasSubstr(" in layers.0.attention and 5 more layers; estimated "));
  EXPECT_THAT(outcome.output, HasSubstr("attention against the reference, worst differences"));
  EXPECT_THAT(outcome.output, HasSubstr("\n  layers.5.attention  "));
}

TEST_F(CommandLine, AConfigurationMistakeExitsWithTwoAndNamesLineAndKey) {
  const std::string file = write("bad.toml", "[training]\nseq_len = 0\nstepz = 3\n");
  const Outcome outcome = coeus("train " + file);
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.output, HasSubstr("bad.toml:2"));
  EXPECT_THAT(outcome.output, HasSubstr("training.steps"));
  EXPECT_EQ(coeus("train " + (folder_ / "missing.toml").string()).exit_code, 2);
}

TEST_F(CommandLine, AMissingTokenizerExitsWithFourteen) {
  const std::string text = write("text.jsonl", "{\"text\": \"hello\"}\n");
  const Outcome outcome =
      coeus("train " + short_run("a") + " --training.dataset=json --training.dataset_path=" + text +
            " --model.hf_assets_path=" + (folder_ / "nowhere").string());
  EXPECT_EQ(outcome.exit_code, 14);
  EXPECT_THAT(outcome.output, HasSubstr("nowhere"));
}

TEST_F(CommandLine, AModelThatCannotFitExitsWithFifteen) {
  EXPECT_EQ(coeus("train " + short_run("a") + " --model.flavor=405B").exit_code, 15);
}

TEST_F(CommandLine, ANonFiniteStepExitsWithTwelve) {
  EXPECT_EQ(coeus("train " + short_run("a") + " --optimizer.lr=1e30 --lr_scheduler.warmup_steps=0")
                .exit_code,
            12);
}

TEST_F(CommandLine, ACheckpointThatCannotBeUsedExitsWithThirteen) {
  const std::string broken = write("broken.safetensors", "not a safetensors file");
  const Outcome outcome = coeus("train " + short_run("a") +
                                " --checkpoint.enable --checkpoint.initial_load_path=" + broken);
  EXPECT_EQ(outcome.exit_code, 13);
  EXPECT_THAT(outcome.output, HasSubstr("broken.safetensors"));
}

TEST_F(CommandLine, CompareTellsEqualRunsFromDifferentOnes) {
  const std::string a = write("a.csv", "step,loss,grad_norm\n1,8.0,1.0\n2,7.5,1.1\n");
  const std::string b = write("b.csv", "step,loss,grad_norm\n1,8.0,1.0\n2,7.6,1.1\n");
  EXPECT_EQ(coeus("compare " + a + " " + a + " --bitwise").exit_code, 0);
  EXPECT_EQ(coeus("compare " + a + " " + b + " --atol 0.2").exit_code, 0);
  EXPECT_EQ(coeus("compare " + a + " " + b + " --atol 0.05").exit_code, 1);
  const std::string shorter = write("c.csv", "step,loss,grad_norm\n1,8.0,1.0\n");
  EXPECT_EQ(coeus("compare " + a + " " + shorter + " --bitwise").exit_code, 0);
  EXPECT_EQ(coeus("compare " + a + " " + shorter + " --bitwise --same-steps").exit_code, 1);
}

TEST_F(CommandLine, ATokenizerIsTrainedUsedForTrainingAndForGenerating) {
  std::string lines;
  for (int i = 0; i < 200; ++i)
    lines += "{\"text\": \"the quick brown fox number " + std::to_string(i) + " jumps\"}\n";
  const std::string text = write("text.jsonl", lines);
  const std::string tokenizer = (folder_ / "tokenizer").string();
  ASSERT_EQ(coeus("tokenizer train --input " + text + " --vocab-size 300 --output " + tokenizer)
                .exit_code,
            0);
  const std::string strings = write("strings", "\"quick fox\"\n\"\\u00e9\"\n");
  const std::string ids = (folder_ / "ids").string();
  ASSERT_EQ(coeus("tokenizer encode " + tokenizer + " < " + strings + " > " + ids).exit_code, 0);
  EXPECT_EQ(coeus("tokenizer decode " + tokenizer + " < " + ids).output,
            "\"quick fox\"\n\"\\u00e9\"\n");

  const std::string run = short_run("run") +
                          " --training.dataset=json --training.dataset_path=" + text +
                          " --model.hf_assets_path=" + tokenizer + " --checkpoint.enable";
  ASSERT_EQ(coeus("train " + run).exit_code, 0);
  const std::string generate = "generate " + run + " --prompt 'the quick' --max-new-tokens 8";
  const Outcome first = coeus(generate + " --seed 5");
  EXPECT_EQ(first.exit_code, 0) << first.output;
  EXPECT_THAT(first.output, HasSubstr("the quick"));
  const auto text_of = [](const std::string& output) {
    const size_t start = output.find("\nthe quick");
    return start == std::string::npos ? "no text in: " + output : output.substr(start);
  };
  EXPECT_EQ(text_of(coeus(generate + " --seed 5").output), text_of(first.output));
}

TEST_F(CommandLine, ConfigPrintsWhereEachValueCameFrom) {
  const Outcome outcome = coeus("config configs/llama3/debug_model.toml --training.steps=7");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.output, HasSubstr("debug_model.toml:"));
  EXPECT_THAT(outcome.output, HasSubstr("--training.steps"));
}

TEST_F(CommandLine, ConfigPrintsWhatTheLargestModelCosts) {
  const Outcome outcome = coeus("config configs/llama3/405b.toml --model-summary");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.output, HasSubstr("405,853,388,800"));
  EXPECT_THAT(outcome.output, HasSubstr("optimizer"));
}

}  // namespace
}  // namespace coeus
