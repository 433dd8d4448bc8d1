#include "coeus/models/pipeline_run_test.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <mutex>
#include <thread>
#include <vector>

#include "coeus/models/deepseek_v3/model.h"
#include "coeus/models/llama3/masks.h"
#include "coeus/models/llama3/model.h"
#include "coeus/models/llama4/model.h"
#include "coeus/models/qwen3/model.h"
#include "coeus/nn/autocast.h"
#include "coeus/parallel/activation_checkpoint.h"
#include "coeus/parallel/pipeline/make_schedule.h"
#include "coeus/parallel/pipeline/schedule_csv.h"
#include "coeus/parallel/pipeline/stage_split.h"

namespace coeus {
namespace {

std::shared_ptr<Model> llama3_of(const Mask& mask) {
  const llama3::Sizes sizes = {.dim = 16,
                               .n_layers = kLayers,
                               .n_heads = 2,
                               .n_kv_heads = 1,
                               .vocab_size = kVocabulary,
                               .multiple_of = 8,
                               .max_seq_len = kSeqLen,
                               .mask = mask};
  return std::make_shared<llama3::Transformer>(sizes, AttentionEngine::kAuto, at::TensorOptions());
}

std::shared_ptr<Model> deepseek() {
  const deepseek_v3::Sizes sizes = {.dim = 16,
                                    .n_layers = kLayers,
                                    .n_heads = 2,
                                    .vocab_size = kVocabulary,
                                    .hidden_dim = 24,
                                    .moe_hidden_dim = 8,
                                    .moe = small_experts(),
                                    .kv_lora_rank = 8,
                                    .qk_nope_head_dim = 8,
                                    .qk_rope_head_dim = 4,
                                    .v_head_dim = 8,
                                    .max_seq_len = kSeqLen};
  return std::make_shared<deepseek_v3::Transformer>(sizes, AttentionEngine::kAuto,
                                                    at::TensorOptions());
}

std::shared_ptr<Model> qwen3_dense() {
  qwen3::Sizes sizes;
  sizes.dim = 16;
  sizes.n_layers = kLayers;
  sizes.n_heads = 2;
  sizes.n_kv_heads = 1;
  sizes.head_dim = 8;
  sizes.hidden_dim = 24;
  sizes.vocab_size = kVocabulary;
  sizes.max_seq_len = kSeqLen;
  sizes.enable_weight_tying = false;
  return std::make_shared<qwen3::Transformer>(sizes, AttentionEngine::kAuto, at::TensorOptions());
}

}  // namespace

std::shared_ptr<Model> llama3_causal() { return llama3_of(mask::causal()); }
std::shared_ptr<Model> llama3_documents() { return llama3_of(llama3::block_causal()); }

nn::MoEOptions small_experts() { return {.num_experts = 4, .num_shared_experts = 1, .top_k = 2}; }

std::shared_ptr<Model> llama4_of(const nn::MoEOptions& moe) {
  const llama4::Sizes sizes = {.dim = 16,
                               .n_layers = kLayers,
                               .n_heads = 2,
                               .n_kv_heads = 1,
                               .vocab_size = kVocabulary,
                               .multiple_of = 8,
                               .moe = moe,
                               .every_n_layers_nope = 3,
                               .max_seq_len = kSeqLen,
                               .masks = llama4::irope_masks(8)};
  return std::make_shared<llama4::Transformer>(sizes, AttentionEngine::kAuto, at::TensorOptions());
}

std::shared_ptr<Model> llama4_irope() { return llama4_of(small_experts()); }

const std::map<std::string, MakeModel> kModels = {{"llama3", llama3_causal},
                                                  {"llama3_documents", llama3_documents},
                                                  {"llama4_irope", llama4_irope},
                                                  {"deepseek_v3", deepseek},
                                                  {"qwen3", qwen3_dense}};

std::shared_ptr<Model> drawn(MakeModel make, const ActivationCheckpointConfig& recompute) {
  std::shared_ptr<Model> model = make();
  model->init_weights(3);
  apply_activation_checkpoint(model->blocks(), recompute);
  return model;
}

PipelineBatch batch_of(const Model& model, int64_t rows) {
  std::vector<SequenceLayout> layouts;
  std::vector<at::Tensor> positions;
  for (int64_t row = 0; row < rows; ++row) {
    const std::vector<int64_t> documents = {3 + 2 * row, 5, kSeqLen - 8 - 2 * row};
    layouts.push_back(SequenceLayout::from_document_lengths(documents));
    positions.push_back(at::tensor(layouts.back().query()->offset, at::kInt));
  }
  const at::Tensor stream = (at::arange(rows * kSeqLen + 1) * 389).remainder(kVocabulary);
  const int64_t n = rows * kSeqLen;
  return {.tokens = stream.narrow(0, 0, n).view({rows, kSeqLen}),
          .labels = stream.narrow(0, 1, n).view({rows, kSeqLen}),
          .positions = at::stack(positions),
          .masks = model.get_attention_masks(layouts)};
}

PipelineLoss loss_of(const std::shared_ptr<Model>& last) {
  return [last](const at::Tensor& normed, const at::Tensor& labels) {
    return last->loss_of(normed, labels) / 100;
  };
}

void Result::add(const Model& model) {
  for (const auto& [name, parameter] : named_parameters_of(model))
    EXPECT_TRUE(gradients.emplace(name, parameter.grad()).second) << name;
}

Result without_pipeline(MakeModel make, int64_t rows, int64_t micro_batch_size, bool backwards,
                        const ActivationCheckpointConfig& recompute, at::ScalarType autocast) {
  const std::shared_ptr<Model> model = drawn(make, recompute);
  std::vector<MicroBatch> parts = cut_into_micro_batches(batch_of(*model, rows), micro_batch_size);
  if (backwards) std::reverse(parts.begin(), parts.end());
  Result result;
  for (const MicroBatch& part : parts) {
    at::Tensor loss;
    {
      const nn::Autocast precision(autocast);
      loss = model->loss_sum(part.tokens, part.labels, part.positions, part.masks) / 100;
    }
    loss.backward();
    result.loss += loss.item<double>();
  }
  result.add(*model);
  return result;
}

Result run_rank(const PipelineCase& c, std::unique_ptr<StageTransport> transport) {
  const int64_t rank = transport->rank();
  const auto modules = c.make()->pipeline_modules();
  const StageModules split = split_into_stages(modules, c.schedule.stages, 1, 1);
  std::vector<std::shared_ptr<Model>> parts;
  std::vector<PipelineStage> stages;
  for (const int64_t number : c.schedule.stages_of(rank)) {
    const std::shared_ptr<Model> part = c.make();
    part->keep_modules(split[number]);
    part->set_loss_chunk_size(c.loss_chunk_size);
    part->init_weights(3);
    apply_activation_checkpoint(part->blocks(), c.recompute);
    parts.push_back(part);
    stages.push_back({number, [part](const at::Tensor& input, const at::Tensor& positions,
                                     const AttentionMasks& masks) {
                        return part->forward_part(input, positions, masks);
                      }});
  }
  PipelineRuntime runtime(c.schedule, stages, std::move(transport),
                          {.hidden_size = parts[0]->hidden_size(),
                           .micro_batch_size = c.micro_batch_size,
                           .autocast = c.autocast});
  Result result;
  // A rank's stages ascend, and only the last is asked for its loss.
  result.loss = runtime.run(batch_of(*parts[0], c.rows), loss_of(parts.back())).item<double>();
  if (!runtime.has_last_stage()) {
    EXPECT_EQ(result.loss, 0);
  }
  for (const auto& part : parts) result.add(*part);
  return result;
}

void for_ranks(int64_t count, const std::function<void(std::unique_ptr<StageTransport>)>& f) {
  std::vector<std::thread> ranks;
  for (auto& transport : make_in_process_transports(count))
    ranks.emplace_back([&f, transport = std::move(transport)]() mutable {
      try {
        f(std::move(transport));
      } catch (const std::exception& error) {
        ADD_FAILURE() << error.what();
      }
    });
  for (std::thread& rank : ranks) rank.join();
}

Result with_pipeline(const PipelineCase& c) {
  Result all;
  std::mutex mutex;
  for_ranks(c.schedule.rank_count(), [&](std::unique_ptr<StageTransport> transport) {
    const Result result = run_rank(c, std::move(transport));
    const std::lock_guard lock(mutex);
    all.loss += result.loss;
    for (const auto& [name, gradient] : result.gradients)
      EXPECT_TRUE(all.gradients.emplace(name, gradient).second) << name << " on two ranks";
  });
  return all;
}

void expect_same_bits(const Result& a, const Result& b) {
  EXPECT_NEAR(a.loss, b.loss, 1e-6 * std::abs(b.loss));
  ASSERT_EQ(a.gradients.size(), b.gradients.size());
  for (const auto& [name, gradient] : b.gradients) {
    ASSERT_TRUE(a.gradients.contains(name)) << name;
    const at::Tensor& other = a.gradients.at(name);
    ASSERT_EQ(other.defined(), gradient.defined()) << name;
    if (!gradient.defined()) continue;
    EXPECT_GT(gradient.abs().max().item<double>(), 0) << name;
    EXPECT_TRUE(at::equal(other, gradient))
        << name << " differs by " << (other - gradient).abs().max().item<double>();
  }
}

void expect_close(const Result& a, const Result& b) {
  EXPECT_NEAR(a.loss, b.loss, 1e-5 * std::abs(b.loss));
  for (const auto& [name, gradient] : b.gradients)
    EXPECT_TRUE(at::allclose(a.gradients.at(name), gradient, 1e-4, 1e-6)) << name;
}

PipelineSchedule schedule_named(const std::string& name, int64_t ranks, int64_t micro_batches) {
  if (name == "csv") {
    // Both kinds of backward pass, stages in no order that has a name.
    EXPECT_EQ(ranks, 2);
    std::string first, second;
    for (int64_t i = 0; i < micro_batches; ++i) {
      first += fmt::format("0F{0},3F{0},3I{0},", i);
      second += fmt::format("1F{0},2F{0},2I{0},2W{0},1B{0},", i);
    }
    for (int64_t i = 0; i < micro_batches; ++i) first += fmt::format("0I{0},3W{0},0W{0},", i);
    return schedule_from_csv(first + "\n" + second, "csv");
  }
  const int64_t of_rank = schedule_traits(name).stages_per_rank;
  return make_schedule(name, ranks, of_rank == 0 ? 2 : of_rank, micro_batches);
}

}  // namespace coeus
