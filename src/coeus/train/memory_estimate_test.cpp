#include "coeus/train/memory_estimate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/nn/inner_attention.h"
#include "coeus/ops/attention_report.h"
#include "coeus/ops/linear_cross_entropy.h"
#include "coeus/train/job_model.h"
#include "coeus/train/tensor_memory.h"

namespace coeus {
namespace {

using testing::HasSubstr;

constexpr const char* kScores = "dense scores of attention.engine reference";
constexpr const char* kCheckedScores = "dense scores of attention.engine check";

JobConfig job(std::vector<std::string> flags) {
  std::vector<std::string> all = {"--model.name=llama3",
                                  "--model.flavor=debugmodel",
                                  "--training.dataset=synthetic",
                                  "--training.mixed_precision_param=float32",
                                  "--training.local_batch_size=2",
                                  "--training.seq_len=256",
                                  "--activation_checkpoint.mode=none"};
  all.insert(all.end(), flags.begin(), flags.end());
  return load_job_config(all);
}

std::map<std::string, int64_t> estimate(const JobConfig& config) {
  const auto model = build_job_model(config, at::kMeta);
  std::map<std::string, int64_t> bytes;
  for (const MemoryEntry& entry :
       estimate_memory(*model, static_cast<int64_t>(model->blocks().size()), config))
    bytes[entry.purpose] = entry.bytes;
  return bytes;
}

TEST(MemoryEstimate, OnAGpuTheGradientOfLogitsTakesTheirPlace) {
  const JobConfig config = job({});
  const auto model = build_job_model(config, at::kMeta);
  const auto bytes_on = [&](at::DeviceType device, int64_t tp) {
    int64_t sum = 0;
    for (const MemoryEntry& entry : estimate_memory(*model, 6, config, {.tp = tp}, device))
      sum += entry.bytes;
    return sum;
  };
  constexpr int64_t kLogits = 2 * 256 * 2048 * 4;
  EXPECT_EQ(bytes_on(at::kCPU, 1) - bytes_on(at::kCUDA, 1), kLogits);
  EXPECT_EQ(bytes_on(at::kCPU, 2), bytes_on(at::kCUDA, 2)) << "where they are spread over ranks";
}

TEST(MemoryEstimate, CountsDenseScoresOfTheReferenceEngine) {
  EXPECT_FALSE(estimate(job({"--attention.engine=sdpa"})).contains(kScores));
  EXPECT_FALSE(estimate(job({})).contains(kScores));
  const auto one = estimate(job({"--attention.engine=reference"}));
  const auto twice = estimate(job({"--attention.engine=reference", "--training.seq_len=512"}));
  // Two float32 matrices of 2 rows, 16 heads and 256 x 256 pairs in each of 6 layers, at least.
  EXPECT_GT(one.at(kScores), 6 * 2 * 4 * 2 * 16 * 256 * 256);
  EXPECT_EQ(twice.at(kScores), 4 * one.at(kScores));
}

TEST(MemoryEstimate, ACheckTakesTheScoresOfOneLayer) {
  const auto check = estimate(job({"--attention.engine=check"}));
  const auto reference = estimate(job({"--attention.engine=reference"}));
  EXPECT_NEAR(double(check.at(kCheckedScores)) / double(reference.at(kScores)), 2.0 / 7.0, 1e-6);
  EXPECT_EQ(estimate(job({"--attention.engine=check", "--activation_checkpoint.mode=full"}))
                .at(kCheckedScores),
            check.at(kCheckedScores));
}

TEST(MemoryEstimate, EveryModelSaysHowItsScoresAreShaped) {
  for (const char* model : {"llama4", "qwen3", "deepseek_v3"}) {
    const auto bytes =
        estimate(job({"--attention.engine=reference", std::string("--model.name=") + model}));
    EXPECT_GT(bytes.at(kScores), 2 * 4 * 2 * 256 * 256) << model;
  }
}

TEST(MemoryEstimate, RecomputedLayersKeepNoScores) {
  const auto none = estimate(job({"--attention.engine=reference"}));
  const auto full =
      estimate(job({"--attention.engine=reference", "--activation_checkpoint.mode=full"}));
  // That of the layer in work and its working space, instead of six and the working space.
  EXPECT_NEAR(double(full.at(kScores)) / double(none.at(kScores)), 2.0 / 7.0, 1e-6);
}

TEST(MemoryEstimate, TakesValidationsBatchWhereItIsTheLarger) {
  const std::vector<std::string> flags = {"--validation.enable", "--validation.dataset=synthetic",
                                          "--validation.seq_len=256"};
  auto small = flags, large = flags;
  small.push_back("--validation.local_batch_size=1");
  large.push_back("--validation.local_batch_size=200");
  EXPECT_EQ(estimate(job(small)), estimate(job({})));
  const auto validation = estimate(job(large));
  const std::string purpose = "validation's activations at their peak (estimate)";
  ASSERT_TRUE(validation.contains(purpose));
  // 200 rows of 256 tokens with 2048 float32 logits each.
  EXPECT_GT(validation.at(purpose), int64_t{200} * 256 * 2048 * 4);
}

TEST(MemoryEstimate, WhatDoesNotFitIsRefusedWithTheTable) {
  const JobConfig config = job({"--attention.engine=reference", "--training.seq_len=65536"});
  const auto model = build_job_model(config, at::kMeta);
  const auto entries = estimate_memory(*model, 6, config);
  try {
    check_fits(entries, 64.0 * (1 << 30));
    FAIL() << "it was let pass";
  } catch (const OutOfMemoryError& error) {
    EXPECT_THAT(error.what(), HasSubstr("there are 64.0 GiB"));
    EXPECT_THAT(error.what(), HasSubstr(kScores));
  }
  EXPECT_NO_THROW(check_fits(entries, 0));
}

/// Bytes of tensors at the peak of a step, above what was there before it.
int64_t measured_peak(const JobConfig& config) {
  const auto model = build_job_model(config, at::kCPU);
  model->set_loss_chunk_size(config.training.loss_chunk_size);
  model->init_weights(1);
  nn::report_attention(*model, std::make_shared<AttentionReport>());
  for (const auto& [name, parameter] : named_parameters_of(*model))
    parameter.mutable_grad() = at::zeros_like(parameter);
  const int64_t batch = config.training.local_batch_size, length = config.training.seq_len;
  const std::vector<SequenceLayout> rows(
      batch, SequenceLayout::from_document_lengths(std::vector<int64_t>{length}));
  const at::Tensor tokens = at::randint(2048, {batch, length}, at::kLong);
  const at::Tensor positions = at::arange(length, at::kInt).expand({batch, length}).contiguous();
  const int64_t before = TensorMemory::current_bytes();
  TensorMemory::reset_peak();
  model->loss_sum(tokens, tokens, positions, model->get_attention_masks(rows)).backward();
  return TensorMemory::peak_bytes() - before;
}

TEST(MemoryEstimate, IsNearWhatAStepTakes) {
  TensorMemory::install();
  for (const char* flag : {"--attention.engine=sdpa", "--attention.engine=reference",
                           "--attention.engine=check", "--training.loss_chunk_size=100"}) {
    const JobConfig config = job({flag});
    auto bytes = estimate(config);
    const double estimated = double(bytes["activations at their peak (estimate)"] + bytes[kScores] +
                                    bytes[kCheckedScores]);
    EXPECT_NEAR(estimated / double(measured_peak(config)), 1.0, 0.25) << flag;
  }
}

TEST(MemoryEstimate, ALossByChunksTakesAChunksLogitsAndItsWeightsGradient) {
  const std::string purpose = "activations at their peak (estimate)";
  const int64_t at_once = estimate(job({})).at(purpose);
  const int64_t by_chunks = estimate(job({"--training.loss_chunk_size=100"})).at(purpose);
  // 2 rows of 256 tokens; a vocabulary of 2048, hidden states of 256.
  EXPECT_EQ(at_once - by_chunks, (2 * 256 - 100) * 2 * 4 * 2048 - 4 * 2048 * 256);
}

TEST(MemoryEstimate, ALossByChunksNeverHoldsAllLogits) {
  TensorMemory::install();
  constexpr int64_t kRows = 4096, kDim = 64, kVocab = 4096, kChunk = 512;
  const at::Tensor hidden = at::randn({kRows, kDim}).requires_grad_();
  const at::Tensor weight = at::randn({kVocab, kDim}).requires_grad_();
  const at::Tensor labels = at::randint(kVocab, {kRows}, at::kLong);
  const auto peak = [&](int64_t chunk_size) {
    const int64_t before = TensorMemory::current_bytes();
    TensorMemory::reset_peak();
    linear_cross_entropy_sum(hidden, weight, labels, chunk_size).backward();
    const int64_t peak = TensorMemory::peak_bytes() - before;
    for (const at::Tensor& factor : {hidden, weight}) factor.mutable_grad().reset();
    return peak;
  };
  const auto mebibytes = [](int64_t rows) { return rows * kVocab * 4; };
  // Logits and their gradient, beside those of hidden states and weight, 1 MiB each.
  EXPECT_GE(peak(kRows), 2 * mebibytes(kRows));
  EXPECT_LE(peak(kChunk), 2 * mebibytes(kChunk) + 4 * (1 << 20));
}

}  // namespace
}  // namespace coeus
