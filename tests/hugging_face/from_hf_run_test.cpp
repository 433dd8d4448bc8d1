// Training and generating from a model folder of Hugging Face's, its config.json giving the sizes.
#include <gmock/gmock.h>

#include "coeus/train/convert.h"
#include "coeus/train/generate.h"
#include "coeus/train/metrics/loss_curve.h"
#include "golden_file.h"
#include "run_folder_fixture.h"

namespace coeus {
namespace {

constexpr int64_t kVocab = 2048;  // of the tokenizer and of the synthetic stream

class FromHuggingFace : public RunTest, public testing::WithParamInterface<const char*> {
 protected:
  std::vector<std::string> flags(const std::filesystem::path& weights) const {
    return {"--model.name=" + family_,
            "--model.flavor=from_hf",
            "--model.hf_assets_path=" COEUS_SOURCE_DIR "/tests/tokenizer/llama3",
            "--training.steps=3",
            "--training.seq_len=32",
            "--training.local_batch_size=2",
            "--checkpoint.enable",
            "--checkpoint.interval=3",
            "--checkpoint.initial_load_path=" + weights.string()};
  }

  LossCurve losses(const std::string& name, std::vector<std::string> all,
                   const std::vector<std::string>& more) {
    all.insert(all.end(), more.begin(), more.end());
    return read_loss_curve(train(name, all) / "metrics.jsonl");
  }

  std::string text(const std::filesystem::path& weights) const {
    return generate(
        load_job_config(flags(weights)),
        {.prompt = "the sun", .max_new_tokens = 12, .temperature = 0, .checkpoint = weights});
  }

  const std::string family_ = family_of(golden_file(GetParam())["config"]);
  const std::filesystem::path hf_ = write_model_folder(folder_ / "hf", GetParam(), kVocab);
};

TEST_P(FromHuggingFace, TrainsFromTheFolderAsFromConvertedWeights) {
  const LossCurve there =
      losses("there", flags(hf_), {"--checkpoint.initial_load_in_hf", "--checkpoint.load_only"});
  ASSERT_EQ(there.size(), 3U);
  const auto native = folder_ / "native";
  convert_weights({.in = hf_, .out = native, .model = family_, .flavor = "from_hf"});
  std::filesystem::copy_file(hf_ / "config.json", native / "config.json");
  const LossCurve here = losses("here", flags(native), {"--checkpoint.load_only"});
  for (const auto& [step, point] : here) {
    EXPECT_EQ(point.loss, there.at(step).loss) << "step " << step;
    EXPECT_EQ(point.grad_norm, there.at(step).grad_norm) << "step " << step;
  }
}

TEST_P(FromHuggingFace, WhatItSavesThereIsLoadedAgain) {
  const std::vector<std::string> in_hf = {"--checkpoint.initial_load_in_hf", "--optimizer.lr=1e-2",
                                          "--lr_scheduler.warmup_steps=1"};
  std::vector<std::string> saving = in_hf;
  saving.insert(saving.end(),
                {"--checkpoint.last_save_in_hf", "--checkpoint.last_save_model_only"});
  const LossCurve first = losses("first", flags(hf_), saving);
  const auto saved = folder_ / "first" / "checkpoint" / "step-3";
  EXPECT_TRUE(std::filesystem::exists(saved / "config.json"));
  const LossCurve second = losses("second", flags(saved), in_hf);
  EXPECT_LT(second.at(1).loss, first.at(1).loss - 0.01);
  // And a text that another program could go on with.
  EXPECT_NE(text(saved), text(hf_));
}

TEST_P(FromHuggingFace, GeneratesFromTheFolder) {
  const std::string from_folder = text(hf_);
  EXPECT_THAT(from_folder, testing::StartsWith("the sun"));
  const auto native = folder_ / "native";
  convert_weights({.in = hf_, .out = native, .model = family_, .flavor = "from_hf"});
  std::filesystem::copy_file(hf_ / "config.json", native / "config.json");
  EXPECT_EQ(text(native), from_folder);
}

constexpr const char* kModels[] = {"llama",     "llama_tied",  "llama4_scout", "qwen3",
                                   "qwen3_moe", "deepseek_v3", "deepseek_v2"};

INSTANTIATE_TEST_SUITE_P(Models, FromHuggingFace, testing::ValuesIn(kModels),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace coeus
