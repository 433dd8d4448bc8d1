// Parts of models: together they are the whole, and what cannot be cut says why.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <map>
#include <string>

#include "coeus/base/error.h"
#include "coeus/models/llama3/model.h"
#include "coeus/models/pipeline_run_test.h"
#include "coeus/parallel/pipeline/stage_split.h"

namespace coeus {
namespace {

TEST(ModelParts, TogetherAreTheWhole) {
  for (const auto& [name, make] : kModels) {
    SCOPED_TRACE(name);
    const auto whole = drawn(make);
    const PipelineBatch batch = batch_of(*whole, 2);
    std::map<std::string, at::Tensor> parameters;
    double flops = 0;
    size_t blocks = 0;
    at::Tensor h = batch.tokens, logits;
    for (const auto& modules : split_into_stages(whole->pipeline_modules(), 4, 1, 1)) {
      const auto part = make();
      part->keep_modules(modules);
      part->init_weights(3);
      EXPECT_EQ(part->pipeline_modules(), modules);
      for (const auto& item : checkpoint_tensors_of(*part))
        EXPECT_TRUE(parameters.insert(item).second) << item.first;
      flops += part->flops_per_token(kSeqLen);
      blocks += part->blocks().size();
      h = part->forward_part(h, batch.positions, batch.masks);
      if (modules.back() == "output") logits = part->output(h);
    }
    EXPECT_TRUE(at::equal(logits, whole->forward(batch.tokens, batch.positions, batch.masks)));
    EXPECT_TRUE(at::equal(h, whole->forward_part(batch.tokens, batch.positions, batch.masks)));
    EXPECT_NEAR(flops, whole->flops_per_token(kSeqLen), 1);
    EXPECT_EQ(blocks, whole->blocks().size());
    const auto all = checkpoint_tensors_of(*whole);
    EXPECT_EQ(parameters.size(), all.size());
    for (const auto& [parameter_name, value] : all)
      EXPECT_TRUE(at::equal(parameters.at(parameter_name), value)) << parameter_name;
  }
}

TEST(ModelParts, WhatCannotBeCutSaysWhy) {
  const auto refusal = [](const Model& model) -> std::string {
    try {
      check_pipeline(model, "it");
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(refusal(*llama3_causal()), "accepted");
  const llama3::Sizes tied = {.dim = 16,
                              .n_layers = 2,
                              .n_heads = 2,
                              .n_kv_heads = 1,
                              .vocab_size = kVocabulary,
                              .max_seq_len = kSeqLen,
                              .enable_weight_tying = true};
  const auto model =
      std::make_shared<llama3::Transformer>(tied, AttentionEngine::kAuto, at::TensorOptions());
  EXPECT_THAT(refusal(*model), testing::HasSubstr("tied weights"));
  EXPECT_THROW(model->keep_modules({"layers.0"}), Error);
  const auto part = llama3_causal();
  EXPECT_THROW(part->keep_modules({"layers.6"}), Error);
  part->keep_modules({"layers.1"});
  const PipelineBatch batch = batch_of(*part, 1);
  EXPECT_THROW(part->forward(batch.tokens, batch.positions, batch.masks), Error);
}

}  // namespace
}  // namespace coeus
