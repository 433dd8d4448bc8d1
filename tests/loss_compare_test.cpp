// tools/loss_compare, on runs of a step or two.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "coeus/base/temporary_folder.h"
#include "run_command.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kSmall =
    "--training.seq_len=32 --training.local_batch_size=1 --activation_checkpoint.mode=none";

class LossCompareTool : public testing::Test {
 protected:
  /// Both runs of the working tree, with further options of either.
  static Outcome compare(const std::string& arguments, const std::string& baseline = "",
                         const std::string& test = "") {
    const std::string small = kSmall;
    return run_command(
        "tools/loss_compare . . --steps=2 --binary='" COEUS_BINARY "' --baseline-options=\"" +
        small + " " + baseline + "\" --test-options=\"" + small + " " + test + "\" " + arguments);
  }

  const TemporaryFolder folder_;
};

TEST_F(LossCompareTool, ARunRepeatsItselfBitForBit) {
  const auto out = folder_ / "out";
  const Outcome outcome = compare("--assert-equal --output-folder='" + out.string() + "'");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("equal at every step"), HasSubstr("\nEQUAL\n")));
  EXPECT_THAT(file_text(out / "comparison.txt"), HasSubstr("compared 2 steps, 1 to 2"));
  EXPECT_THAT(file_text(out / "losses.svg"), HasSubstr("<polyline"));
  for (const char* side : {"baseline", "test"})
    EXPECT_TRUE(std::filesystem::exists(out / side / "metrics.jsonl")) << side;
}

TEST_F(LossCompareTool, ADifferenceIsShownAndFailsOnlyWhereEqualityIsAsserted) {
  const std::string mask = "'--model.mask=sliding_window(3)'";
  const Outcome shown = compare("--no-seed-checkpoint --test-ranks=1", "", mask);
  EXPECT_EQ(shown.exit_code, 0) << shown.output;
  EXPECT_THAT(shown.output, HasSubstr("2 unequal, first at step 1"));
  const Outcome asserted = compare("--assert-equal", "", mask);
  EXPECT_EQ(asserted.exit_code, 1);
  EXPECT_THAT(asserted.output, AllOf(HasSubstr("OUTSIDE"), HasSubstr("NOT EQUAL")));
}

TEST_F(LossCompareTool, AnExportedResultIsImportedAndTellsOtherLosses) {
  const std::string file = (folder_ / "result.csv").string();
  ASSERT_EQ(compare("--export-result='" + file + "'").exit_code, 0);
  EXPECT_THAT(file_text(file),
              testing::MatchesRegex("step,loss,grad_norm\n1,[0-9.]+,[0-9.]+\n2,[0-9.]+,[0-9.]+\n"));
  const std::string import = "--assert-equal --import-result='" + file + "' ";
  EXPECT_EQ(compare(import + "--import-atol=0 --import-rtol=0").exit_code, 0);
  EXPECT_EQ(compare(import, "--training.seed=1", "--training.seed=1").exit_code, 1);
  EXPECT_EQ(compare(import + "--steps=1").exit_code, 1) << "other steps are another result";
}

TEST_F(LossCompareTool, TorchTitansResultsAreImported) {
  const std::string csv = (folder_ / "result.csv").string();
  ASSERT_EQ(compare("--export-result='" + csv + "'").exit_code, 0);
  std::string lines = file_text(csv);
  lines.erase(0, lines.find('\n') + 1);
  for (size_t line = 0; line < lines.size(); line = lines.find('\n', line) + 1) {
    const size_t first = lines.find(',', line), second = lines.find(',', first + 1);
    lines[first] = ' ';
    lines.erase(second, lines.find('\n', second) - second);
  }
  const auto result = folder_.write("result.txt", lines);
  EXPECT_EQ(compare("--assert-equal --import-result='" + result.string() + "'").exit_code, 0);
}

TEST_F(LossCompareTool, WhatCannotBeDoneIsRefused) {
  const auto refusal = [](const std::string& arguments) {
    const Outcome outcome = run_command("tools/loss_compare " + arguments);
    EXPECT_EQ(outcome.exit_code, 1) << arguments;
    return outcome.output;
  };
  EXPECT_THAT(refusal("."), HasSubstr("BASELINE and TEST are wanted"));
  EXPECT_THAT(refusal(". . --test-ranks=2"), HasSubstr("--test-ranks=2: runs have one rank"));
  EXPECT_THAT(refusal(". . --steps=0"), HasSubstr("--steps=0"));
  EXPECT_THAT(refusal(". . --stepz=5"), HasSubstr("no option --stepz=5"));
  EXPECT_THAT(refusal(". . --case=llama9"), HasSubstr("deepseek_flex"));
  EXPECT_THAT(refusal(". . --import-result=tests"), HasSubstr("--assert-equal"));
  EXPECT_THAT(refusal(". . --assert-equal --import-result=nowhere"), HasSubstr("is not there"));
  EXPECT_THAT(refusal(". . --output-folder=tests"), HasSubstr("is there already"));
  EXPECT_THAT(refusal(". . --test-options=\"'\""), HasSubstr("quotes do not match"));
  EXPECT_THAT(refusal("no-such-commit . --binary='" COEUS_BINARY "'"),
              HasSubstr("no git commit no-such-commit"));
}

}  // namespace
}  // namespace coeus
