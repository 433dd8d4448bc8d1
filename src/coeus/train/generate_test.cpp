#include "coeus/train/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <map>

#include "coeus/base/random.h"
#include "coeus/base/temporary_folder.h"
#include "coeus/train/job_model.h"
#include "coeus/train/trainer.h"

namespace coeus {
namespace {

TEST(SampleToken, TemperatureZeroTakesTheLikeliest) {
  EXPECT_EQ(sample_token({0.1F, 3.0F, 2.9F}, 0, 0, 0.99), 1);
  EXPECT_EQ(sample_token({2.0F, 2.0F}, 0, 0, 0.99), 0);
}

TEST(SampleToken, TopKNeverDrawsOutsideTheKLikeliest) {
  const CounterRandom random(1, "test");
  for (int i = 0; i < 500; ++i) {
    const int64_t token = sample_token({0, 1, 2, 3}, 5.0, 2, random.uniform(i));
    EXPECT_TRUE(token == 2 || token == 3) << token;
  }
}

TEST(SampleToken, DrawsFollowTheSoftmaxAtTheTemperature) {
  const CounterRandom random(2, "test");
  std::map<int64_t, int> counts;
  const int n = 20000;
  for (int i = 0; i < n; ++i) ++counts[sample_token({0.0F, 1.0F}, 2.0, 0, random.uniform(i))];
  EXPECT_NEAR(static_cast<double>(counts[1]) / n, 1 / (1 + std::exp(-0.5)), 0.01);
}

/// A run of one short step with its checkpoint.
JobConfig trained_run(const std::string& model, const std::filesystem::path& folder) {
  const JobConfig config = load_job_config(
      {"--model.name=" + model, "--model.flavor=debugmodel", "--training.dataset=synthetic",
       "--training.steps=1", "--training.seq_len=16", "--training.local_batch_size=1",
       "--model.hf_assets_path=" COEUS_SOURCE_DIR "/tests/tokenizer/llama3", "--checkpoint.enable",
       "--job.dump_folder=" + folder.string()});
  train_alone(config);
  return config;
}

class GenerateFromACheckpoint : public testing::TestWithParam<const char*> {};

TEST_P(GenerateFromACheckpoint, OfTheRunOrNamed) {
  const TemporaryFolder folder;
  const JobConfig config = trained_run(GetParam(), folder.path());
  GenerateOptions options = {.prompt = "the sun", .max_new_tokens = 12, .temperature = 0};
  const std::string text = generate(config, options);
  EXPECT_THAT(text, testing::HasSubstr("the sun"));
  options.checkpoint = folder / "checkpoint/step-1";
  EXPECT_EQ(generate(config, options), text);
}

INSTANTIATE_TEST_SUITE_P(Models, GenerateFromACheckpoint, testing::Values("llama4", "deepseek_v3"));

TEST(JobModel, MorePositionsThanTrainingsChangeNoLogits) {
  const JobConfig config =
      load_job_config({"--model.name=deepseek_v3", "--model.flavor=debugmodel",
                       "--training.dataset=synthetic", "--training.seq_len=16"});
  const at::NoGradGuard no_grad;
  const auto logits = [](const std::shared_ptr<Model>& model) {
    model->init_weights(1);
    const std::vector<SequenceLayout> rows = {
        SequenceLayout::from_document_lengths(std::vector<int64_t>{16})};
    return model->forward(at::arange(16, at::kLong).unsqueeze(0),
                          at::arange(16, at::kInt).unsqueeze(0), model->get_attention_masks(rows));
  };
  EXPECT_TRUE(at::equal(logits(build_job_model(config, at::kCPU, 5000)),
                        logits(build_job_model(config, at::kCPU))));
}

}  // namespace
}  // namespace coeus
