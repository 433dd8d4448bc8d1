// Runs of the vision-language model on pictures and text.
#include <gmock/gmock.h>

#include "coeus/base/error.h"
#include "coeus/data/images/image_token_ids.h"
#include "coeus/data/images/shapes.h"
#include "coeus/data/tokenizer/bpe_trainer.h"
#include "coeus/train/metrics/loss_curve.h"
#include "run_command.h"
#include "run_folder_fixture.h"

namespace coeus {
namespace {

using testing::HasSubstr;

class VlmRun : public RunTest {
 protected:
  VlmRun() {
    write_shapes(folder_ / "shapes", 40, 1);
    BpeTrainerOptions options = {.vocab_size = 300};
    for (const auto name : {kImageToken, kBeginOfImageToken, kEndOfImageToken, kPadToken})
      options.special_tokens.emplace_back(name);
    int64_t number = 0;
    const auto captions = [&](std::string& text) {
      if (number == 40) return false;
      text = draw_shapes(1, number++).caption;
      return true;
    };
    write_tokenizer(train_bpe(captions, options), folder_ / "tokenizer");
  }

  /// 6 steps of 2 rows of 128 tokens.
  std::vector<std::string> run_flags() const {
    return {"--model.name=vlm",
            "--model.flavor=debugmodel",
            "--model.hf_assets_path=" + (folder_ / "tokenizer").string(),
            "--training.dataset=image_text",
            "--training.dataset_path=" + (folder_ / "shapes").string(),
            "--data.max_patches_per_image=16",
            "--data.packing_buffer_size=8",
            "--training.steps=6",
            "--training.seq_len=128",
            "--training.local_batch_size=2"};
  }
  LossCurve losses(const std::string& name, const std::vector<std::string>& flags) {
    std::vector<std::string> all = run_flags();
    all.insert(all.end(), flags.begin(), flags.end());
    return read_loss_curve(train(name, all) / "metrics.jsonl");
  }
};

TEST_F(VlmRun, TheLossFalls) {
  const LossCurve curve = losses("a", {"--training.steps=25", "--optimizer.lr=2e-3"});
  EXPECT_LT(curve.at(25).loss, curve.at(1).loss - 3);
}

TEST_F(VlmRun, ActivationCheckpointingChangesNoBit) {
  for (const std::string dtype : {"float32", "bfloat16"}) {
    const std::string precision = "--training.mixed_precision_param=" + dtype;
    const LossCurve none = losses(dtype + "none", {precision});
    ASSERT_EQ(none.size(), 6U);
    expect_equal_bits(losses(dtype + "full", {precision, "--activation_checkpoint.mode=full"}),
                      none);
    expect_equal_bits(
        losses(dtype + "by_operation", {precision, "--activation_checkpoint.mode=selective",
                                        "--activation_checkpoint.selective_ac_option=op"}),
        none);
  }
}

TEST_F(VlmRun, AResumedRunContinuesBitForBit) {
  const std::vector<std::string> flags = {"--checkpoint.enable", "--checkpoint.interval=3",
                                          "--checkpoint.keep_latest_k=0"};
  const LossCurve whole = losses("whole", flags);
  copy_checkpoint("whole", "resumed", 3);
  const LossCurve resumed = losses("resumed", flags);
  ASSERT_EQ(resumed.size(), 3U);
  expect_continues(resumed, whole, 3);
}

TEST_F(VlmRun, AccumulatedMicroBatchesAreOneBatch) {
  const LossCurve whole = losses("whole", {});
  const LossCurve parts =
      losses("parts", {"--training.local_batch_size=1", "--training.global_batch_size=2"});
  for (const auto& [step, point] : whole)
    EXPECT_NEAR(parts.at(step).loss, point.loss, 2e-5) << "step " << step;
}

TEST_F(VlmRun, TheLossIsThatOfOneProcessWithTokensSpreadOverRanks) {
  const LossCurve one = losses("one", {});
  for (const auto& [ranks, method, balancer] : {std::tuple(2, "ring", "headtail"),
                                                {3, "needed", "joint"},
                                                {2, "alltoall", "ptrr"},
                                                {4, "allgather", "per_document"}}) {
    const std::string name = fmt::format("{} {} {}", ranks, method, balancer);
    const Outcome outcome = run_coeus(fmt::format(
        "launch -n {} -- train configs/llama3/debug_model.toml --job.dump_folder='{}' "
        "--metrics.log_freq=1 --training.mixed_precision_param=float32 "
        "--activation_checkpoint.mode=none --parallelism.context_parallel_degree={} "
        "--parallelism.context_parallel_method={} --parallelism.context_parallel_load_balancer={} "
        "'{}'",
        ranks, (folder_ / name).string(), ranks, method, balancer, fmt::join(run_flags(), "' '")));
    ASSERT_EQ(outcome.exit_code, 0) << name << '\n' << outcome.output;
    const LossCurve many = read_loss_curve((folder_ / name / "metrics.jsonl").string());
    ASSERT_EQ(many.size(), one.size());
    for (const auto& [step, point] : one) {
      EXPECT_NEAR(many.at(step).loss, point.loss, 2e-5) << name << " step " << step;
      EXPECT_NEAR(*many.at(step).grad_norm, *point.grad_norm, 2e-3 * *point.grad_norm)
          << name << " step " << step;
    }
  }
}

TEST_F(VlmRun, TextAloneStartsWithLlama3sLoss) {
  const auto first_loss = [&](const std::string& model, const std::string& flavor) {
    const auto out =
        train(model, {"--model.name=" + model, "--model.flavor=" + flavor, "--training.steps=2",
                      "--training.seq_len=128", "--training.local_batch_size=2"});
    return read_loss_curve(out / "metrics.jsonl").at(1).loss;
  };
  EXPECT_EQ(first_loss("vlm", "debugmodel"), first_loss("llama3", "debugmodel_flex_attn"));
}

TEST_F(VlmRun, AnotherPatchSizeThanTheModelsIsRefused) {
  try {
    losses("a", {"--data.patch_size=14"});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("data.patch_size = 14"));
  }
}

}  // namespace
}  // namespace coeus
