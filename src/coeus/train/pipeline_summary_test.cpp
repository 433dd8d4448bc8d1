#include "coeus/train/pipeline_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coeus/base/error.h"

namespace coeus {
namespace {

using testing::HasSubstr;

JobConfig job(const std::string& model, const std::string& flavor) {
  JobConfig config;
  config.model.name = model;
  config.model.flavor = flavor;
  config.training.seq_len = 64;
  config.training.local_batch_size = 4;
  config.parallelism.pipeline_parallel_degree = 2;
  return config;
}

TEST(PipelineSummary, ShowsStagesScheduleAndBubble) {
  const std::string text = pipeline_summary(plan_job_pipeline(job("llama3", "debugmodel")));
  EXPECT_THAT(text, HasSubstr("stage 0   on rank 0   tok_embeddings … layers.2\n"
                              "stage 1   on rank 1   layers.3 … output\n"));
  EXPECT_THAT(text, HasSubstr("1F1B: 2 ranks, 2 stages, 4 micro-batches, bubble 20.0 %\n"
                              "rank 0   0F0 0F1 .   .   0B0----"));
  EXPECT_THAT(text,
              HasSubstr("rank 0   at most 2 forward passes wait for their backward passes\n"
                        "rank 1   at most 1 forward passes wait for their backward passes\n"));
}

TEST(PipelineSummary, WhatHasNoPipelineSaysSo) {
  JobConfig config = job("llama3", "debugmodel");
  config.parallelism.pipeline_parallel_degree = 1;
  EXPECT_THROW(plan_job_pipeline(config), ConfigError);
  EXPECT_THROW(plan_job_pipeline(job("vlm", "debugmodel")), ConfigError);
  EXPECT_THROW(plan_job_pipeline(job("qwen3", "0.6B")), ConfigError);
  config = job("deepseek_v3", "debugmodel");
  EXPECT_NO_THROW(plan_job_pipeline(config));
  config.model.num_mtp_layers = 1;
  EXPECT_THROW(plan_job_pipeline(config), ConfigError);
}

}  // namespace
}  // namespace coeus
