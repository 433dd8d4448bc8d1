// What must hold of whole runs, for every family of models.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "coeus/train/metrics/loss_curve.h"
#include "run_folder_fixture.h"

namespace coeus {
namespace {

struct Family {
  const char* model;
  const char* flavor;
};

class FamilyRun : public RunTest, public testing::WithParamInterface<Family> {
 protected:
  /// 6 steps of 2 rows of 64 tokens.
  LossCurve losses(const std::string& name, std::vector<std::string> flags) {
    std::vector<std::string> all = {std::string("--model.name=") + GetParam().model,
                                    std::string("--model.flavor=") + GetParam().flavor,
                                    "--training.steps=6", "--training.seq_len=64",
                                    "--training.local_batch_size=2"};
    all.insert(all.end(), flags.begin(), flags.end());
    return read_loss_curve(train(name, all) / "metrics.jsonl");
  }
};

TEST_P(FamilyRun, TheLossOfTextFalls) {
  std::ofstream out(folder_ / "text.jsonl");
  for (int i = 0; i < 100; ++i)
    out << nlohmann::json{{"text", "The sun rises in the east, and day " + std::to_string(i) +
                                       " is as long as the day before it."}}
        << "\n";
  out.close();
  const LossCurve curve =
      losses("a", {"--training.steps=25", "--optimizer.lr=2e-3", "--training.dataset=json",
                   "--training.dataset_path=" + (folder_ / "text.jsonl").string(),
                   "--model.hf_assets_path=" COEUS_SOURCE_DIR "/tests/tokenizer/llama3"});
  EXPECT_LT(curve.at(25).loss, curve.at(1).loss - 2);
}

TEST_P(FamilyRun, ActivationCheckpointingChangesNoBit) {
  for (const std::string dtype : {"float32", "bfloat16"}) {
    const std::string precision = "--training.mixed_precision_param=" + dtype;
    const LossCurve none = losses(dtype + "none", {precision});
    ASSERT_EQ(none.size(), 6U);
    expect_equal_bits(losses(dtype + "full", {precision, "--activation_checkpoint.mode=full"}),
                      none);
    expect_equal_bits(
        losses(dtype + "selective", {precision, "--activation_checkpoint.mode=selective",
                                     "--activation_checkpoint.selective_ac_option=2"}),
        none);
    expect_equal_bits(
        losses(dtype + "by_operation", {precision, "--activation_checkpoint.mode=selective",
                                        "--activation_checkpoint.selective_ac_option=op"}),
        none);
  }
}

TEST_P(FamilyRun, ADeterministicRunRepeatsItselfBitForBit) {
  const std::vector<std::string> flags = {"--training.deterministic",
                                          "--training.mixed_precision_param=bfloat16"};
  const LossCurve once = losses("once", flags);
  ASSERT_EQ(once.size(), 6U);
  expect_equal_bits(losses("again", flags), once);
}

TEST_P(FamilyRun, AResumedRunContinuesBitForBit) {
  const std::vector<std::string> flags = {"--checkpoint.enable", "--checkpoint.interval=3",
                                          "--checkpoint.keep_latest_k=0"};
  const LossCurve whole = losses("whole", flags);
  copy_checkpoint("whole", "resumed", 3);
  const LossCurve resumed = losses("resumed", flags);
  ASSERT_EQ(resumed.size(), 3U);
  expect_continues(resumed, whole, 3);
}

TEST_P(FamilyRun, SavedWeightsStartAnotherRun) {
  losses("first", {"--checkpoint.enable", "--checkpoint.interval=3"});
  const auto weights = folder_ / "first" / "checkpoint" / "step-6";
  const std::vector<std::string> flags = {"--checkpoint.enable", "--checkpoint.load_only",
                                          "--checkpoint.initial_load_path=" + weights.string()};
  const LossCurve anew = losses("anew", {}), loaded = losses("loaded", flags);
  EXPECT_LT(loaded.at(1).loss, anew.at(1).loss - 0.05);
}

INSTANTIATE_TEST_SUITE_P(
    Families, FamilyRun,
    testing::Values(Family{"llama4", "debugmodel"}, Family{"llama4", "debugmodel_irope"},
                    Family{"qwen3", "debugmodel_flex_attn"}, Family{"qwen3", "debugmodel_tied"},
                    Family{"qwen3", "debugmodel_moe_small"}, Family{"deepseek_v3", "debugmodel"},
                    Family{"deepseek_v3", "debugmodel_flex_attn"}),
    [](const auto& info) { return std::string(info.param.model) + "_" + info.param.flavor; });

}  // namespace
}  // namespace coeus
