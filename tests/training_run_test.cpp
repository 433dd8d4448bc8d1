// What must hold of whole runs on one device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "coeus/base/error.h"
#include "coeus/train/metrics/compare.h"
#include "coeus/train/metrics/loss_curve.h"
#include "run_folder_fixture.h"

namespace coeus {
namespace {

using testing::HasSubstr;

class TrainingRun : public RunTest {
 protected:
  /// A short run: 8 steps of 2 rows of 64 tokens, warmed up in 2.
  LossCurve losses(const std::string& name, std::vector<std::string> flags) {
    std::vector<std::string> all = {"--training.steps=8", "--training.seq_len=64",
                                    "--training.local_batch_size=2"};
    all.insert(all.end(), flags.begin(), flags.end());
    return read_loss_curve(train(name, all) / "metrics.jsonl");
  }

  static void expect_equal_bits(const LossCurve& a, const LossCurve& b) {
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [step, point] : a) {
      EXPECT_EQ(point.loss, b.at(step).loss) << "step " << step;
      EXPECT_EQ(point.grad_norm, b.at(step).grad_norm) << "step " << step;
    }
  }
};

TEST_F(TrainingRun, TheLossFalls) {
  const LossCurve curve = losses("a", {"--training.steps=40", "--optimizer.lr=4e-3"});
  EXPECT_LT(curve.at(40).loss, curve.at(1).loss - 0.4);
}

TEST_F(TrainingRun, TheSameRunTwiceGivesTheSameBits) {
  expect_equal_bits(losses("a", {"--model.flavor=debugmodel_flex_attn"}),
                    losses("b", {"--model.flavor=debugmodel_flex_attn"}));
}

TEST_F(TrainingRun, AnotherSeedGivesOtherWeights) {
  EXPECT_NE(losses("a", {"--training.seed=1"}).at(1).loss,
            losses("b", {"--training.seed=2"}).at(1).loss);
}

TEST_F(TrainingRun, ActivationCheckpointingChangesNoBit) {
  for (const char* dtype : {"float32", "bfloat16"}) {
    const std::string precision = std::string("--training.mixed_precision_param=") + dtype;
    const std::string prefix = dtype;
    const LossCurve none = losses(prefix + "none", {precision});
    expect_equal_bits(none,
                      losses(prefix + "full", {precision, "--activation_checkpoint.mode=full"}));
    expect_equal_bits(
        none, losses(prefix + "selective", {precision, "--activation_checkpoint.mode=selective",
                                            "--activation_checkpoint.selective_ac_option=2"}));
  }
}

TEST_F(TrainingRun, GradientAccumulationEqualsOneLargeBatch) {
  const LossCurve large = losses("large", {"--training.local_batch_size=4"});
  const LossCurve accumulated =
      losses("accumulated", {"--training.local_batch_size=1", "--training.global_batch_size=4"});
  const Comparison comparison =
      compare_curves(large, accumulated, {.loss_absolute = 2e-5, .grad_norm_relative = 2e-3});
  EXPECT_TRUE(comparison.within()) << comparison_table(comparison, {});
}

TEST_F(TrainingRun, AResumedRunContinuesBitForBit) {
  const std::vector<std::string> flags = {"--checkpoint.enable", "--checkpoint.interval=3",
                                          "--checkpoint.keep_latest_k=0",
                                          "--model.flavor=debugmodel_flex_attn"};
  const LossCurve whole = losses("whole", flags);
  std::filesystem::create_directories(folder_ / "resumed" / "checkpoint");
  std::filesystem::copy(folder_ / "whole" / "checkpoint" / "step-3",
                        folder_ / "resumed" / "checkpoint" / "step-3",
                        std::filesystem::copy_options::recursive);
  const LossCurve resumed = losses("resumed", flags);
  ASSERT_EQ(resumed.size(), 5U);
  for (const auto& [step, point] : resumed) {
    EXPECT_EQ(point.loss, whole.at(step).loss) << "step " << step;
    EXPECT_EQ(point.grad_norm, whole.at(step).grad_norm) << "step " << step;
  }
}

TEST_F(TrainingRun, BfloatAutocastStaysNearFloat) {
  const LossCurve wide = losses("wide", {});
  const LossCurve narrow = losses("narrow", {"--training.mixed_precision_param=bfloat16"});
  EXPECT_NE(narrow.at(8).loss, wide.at(8).loss);
  EXPECT_NEAR(narrow.at(8).loss, wide.at(8).loss, 0.05);
}

TEST_F(TrainingRun, ParametersMayBeBfloat16) {
  const LossCurve curve = losses("a", {"--training.dtype=bfloat16"});
  EXPECT_LT(curve.at(8).loss, curve.at(1).loss);
}

TEST_F(TrainingRun, AMaskExpressionReplacesTheFlavoursMask) {
  expect_equal_bits(losses("flavor", {"--model.flavor=debugmodel_flex_attn"}),
                    losses("expression", {"--model.mask=causal & document"}));
  EXPECT_NE(losses("full", {"--model.mask=full"}).at(1).loss, losses("causal", {}).at(1).loss);
}

TEST_F(TrainingRun, EveryKindOfOptimizerImplementationGivesTheSameBits) {
  const LossCurve fused = losses("fused", {});
  expect_equal_bits(fused, losses("foreach", {"--optimizer.implementation=foreach"}));
  expect_equal_bits(fused, losses("loop", {"--optimizer.implementation=for-loop"}));
  EXPECT_NE(losses("adam", {"--optimizer.name=Adam"}).at(8).loss, fused.at(8).loss);
}

TEST_F(TrainingRun, ANonFiniteGradientStopsBeforeTheUpdateAndNamesTheTensor) {
  try {
    losses("a", {"--optimizer.lr=1e30", "--lr_scheduler.warmup_steps=0"});
    FAIL() << "the run did not stop";
  } catch (const NonFiniteError& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kNonFinite);
    EXPECT_THAT(error.what(), HasSubstr("step 2"));
    EXPECT_THAT(error.what(), HasSubstr("first bad tensor"));
  }
}

TEST_F(TrainingRun, ValidationWritesItsOwnLines) {
  losses("a",
         {"--validation.enable", "--validation.dataset=synthetic", "--validation.freq=4",
          "--validation.steps=2", "--validation.seq_len=32", "--validation.local_batch_size=3"});
  std::ifstream lines(folder_ / "a" / "metrics.jsonl");
  std::vector<int64_t> validated;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json object = nlohmann::json::parse(line);
    if (!object.contains("validation_loss")) continue;
    EXPECT_FALSE(object.contains("loss"));
    EXPECT_NEAR(object["validation_loss"].get<double>(), 8, 1.5);
    validated.push_back(object["step"]);
  }
  EXPECT_EQ(validated, (std::vector<int64_t>{1, 4, 8}));
}

TEST_F(TrainingRun, ASignalEndsTheRunCleanlyWithACheckpoint) {
  // Raised by the log line of step 3, so that nothing has to be waited for.
  std::thread sender([&] {
    const auto file = folder_ / "a" / "metrics.jsonl";
    for (int64_t lines = 0; lines < 3;) {
      std::ifstream in(file);
      lines = std::count(std::istreambuf_iterator<char>(in), {}, '\n');
      std::this_thread::yield();
    }
    std::raise(SIGTERM);
  });
  const LossCurve curve = losses(
      "a", {"--training.steps=100000", "--checkpoint.enable", "--checkpoint.interval=90000"});
  sender.join();
  const int64_t last = curve.rbegin()->first;
  EXPECT_GE(last, 3);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "a" / "checkpoint" /
                                      ("step-" + std::to_string(last)) / "manifest.json"));
}

TEST_F(TrainingRun, ARunThatCannotFitIsRefusedBeforeItStarts) {
  EXPECT_THROW(losses("a", {"--model.flavor=405B"}), OutOfMemoryError);
}

}  // namespace
}  // namespace coeus
