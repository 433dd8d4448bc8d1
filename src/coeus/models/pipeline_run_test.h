// Small models and their gradients in a pipeline and without one, for the pipeline tests.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "coeus/models/model.h"
#include "coeus/nn/moe/moe_options.h"
#include "coeus/parallel/activation_checkpoint_config.h"
#include "coeus/parallel/pipeline/runtime.h"

namespace coeus {

/// Of all models below.
inline constexpr int64_t kSeqLen = 24;
inline constexpr int64_t kVocabulary = 48;
inline constexpr int64_t kLayers = 6;

/// Makes a model whose weights are not yet drawn.
using MakeModel = std::shared_ptr<Model> (*)();

std::shared_ptr<Model> llama3_causal();
/// Its mask is causal within each document.
std::shared_ptr<Model> llama3_documents();
std::shared_ptr<Model> llama4_irope();
/// As llama4_irope, with other experts.
std::shared_ptr<Model> llama4_of(const nn::MoEOptions& moe);
/// Those of llama4_irope.
nn::MoEOptions small_experts();

/// By name: llama3_documents, and one of every family.
extern const std::map<std::string, MakeModel> kModels;

inline const ActivationCheckpointConfig kKeepAll = {.mode = "none"};

/// The model with its weights.
std::shared_ptr<Model> drawn(MakeModel make,
                             const ActivationCheckpointConfig& recompute = kKeepAll);

/// Documents, and so masks and positions, differ from row to row.
PipelineBatch batch_of(const Model& model, int64_t rows);

/// That of the part with the output.
PipelineLoss loss_of(const std::shared_ptr<Model>& last);

/// What a batch gave: of a whole model, or of some of its parts.
struct Result {
  double loss = 0;
  std::map<std::string, at::Tensor> gradients;

  /// The gradients of a model or part; fails the test where one is there already.
  void add(const Model& model);
};

/// The whole model, over micro-batches one after another, from the last to the first if
/// `backwards`.
Result without_pipeline(MakeModel make, int64_t rows, int64_t micro_batch_size, bool backwards,
                        const ActivationCheckpointConfig& recompute = kKeepAll,
                        at::ScalarType autocast = at::kFloat);

/// A batch of `rows` rows through a model in a pipeline.
struct PipelineCase {
  MakeModel make = nullptr;
  PipelineSchedule schedule;
  int64_t rows = 4;
  int64_t micro_batch_size = 1;
  ActivationCheckpointConfig recompute = kKeepAll;
  at::ScalarType autocast = at::kFloat;
  int64_t loss_chunk_size = 0;
};

/// One rank: its stages are parts of models of their own, as on ranks of a job.
Result run_rank(const PipelineCase& c, std::unique_ptr<StageTransport> transport);

/// f(transport) in a thread for each rank. Fails the test where one throws.
void for_ranks(int64_t count, const std::function<void(std::unique_ptr<StageTransport>)>& f);

/// All ranks, in threads: their losses and gradients together.
Result with_pipeline(const PipelineCase& c);

/// Fails the test unless the gradients are the same to the bit and not 0, the losses to rounding.
void expect_same_bits(const Result& a, const Result& b);
/// Fails the test unless both are the same to rounding.
void expect_close(const Result& a, const Result& b);

/// The schedule that make_schedule knows by this name, or "csv", one of two ranks that has no name.
PipelineSchedule schedule_named(const std::string& name, int64_t ranks, int64_t micro_batches);

}  // namespace coeus
