// Executes a rank's part of a pipeline schedule.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "coeus/parallel/pipeline/micro_batches.h"
#include "coeus/parallel/pipeline/schedule.h"
#include "coeus/parallel/pipeline/stage_transport.h"

namespace coeus {

/// A stage's modules: from tokens (in the first stage) or hidden states to hidden states or, in the
/// last, to what the loss is made of, for one micro-batch's positions and masks.
using StageForward = std::function<at::Tensor(const at::Tensor& input, const at::Tensor& positions,
                                              const AttentionMasks& masks)>;

struct PipelineStage {
  int64_t number = 0;
  StageForward forward;
};

/// A micro-batch's share of the loss, a scalar with a gradient; called in the last stage only.
using PipelineLoss = std::function<at::Tensor(const at::Tensor& output, const at::Tensor& labels)>;

/// What a rank does with the last stage's output in validation; called in the last stage only.
using OutputObserver = std::function<void(const at::Tensor& output, const MicroBatch& batch)>;

/// Called at what others must know of while a batch runs. All may be empty.
struct PipelineHooks {
  /// Before every action that runs a stage's layers: F, and I and B, which run those that are
  /// recomputed again.
  std::function<void(int64_t stage)> before_layers;
  /// Before I and B: whether all gradients of this stage and run will be there once it is done. So
  /// it is with no I, whose weight gradients come in W.
  std::function<void(int64_t stage, bool completes)> before_backward;
  /// After the B or W that completed the gradients of this stage and run.
  std::function<void(int64_t stage)> gradients_complete;
};

struct PipelineOptions {
  /// Of what passes between stages: [rows, hidden_seq_len(length of the tokens' rows),
  /// hidden_size]. Empty: as long as the tokens' rows; under tensor parallelism this rank's share.
  int64_t hidden_size = 0;
  std::function<int64_t(int64_t seq_len)> hidden_seq_len = {};
  at::ScalarType hidden_dtype = at::kFloat;
  /// Rows of a micro-batch; a batch's last may have fewer.
  int64_t micro_batch_size = 1;
  /// Whether a rank starts to receive inputs before the action that needs them. Not on a GPU, which
  /// an exchange occupies until the sender comes.
  bool receives_ahead = true;
  /// Forward passes and the loss run under autocast to it; float32: without.
  at::ScalarType autocast = at::kFloat;
  PipelineHooks hooks = {};
};

/// One rank of a pipeline. It receives what a stage needs from the ranks that have the stages
/// beside, ahead of its need where wanted, and never waits for a receiver; stages of one rank hand
/// over directly. Positions and masks are cut once a batch for all stages of the rank.
class PipelineRuntime {
 public:
  /// stages: those that the schedule gives to transport.rank(), in any order. Throws Error for
  /// others, and for a schedule that cannot be executed.
  PipelineRuntime(PipelineSchedule schedule, std::vector<PipelineStage> stages,
                  std::unique_ptr<StageTransport> transport, PipelineOptions options);
  ~PipelineRuntime();

  bool has_first_stage() const;
  bool has_last_stage() const;

  /// Forward and backward passes of a batch, which must have as many micro-batches as the schedule.
  /// Adds to the gradients of the stages' parameters. Returns the sum of the losses, [] beside the
  /// tokens, on the rank of the last stage; 0 on others. Collective: every rank of the pipeline
  /// calls it.
  at::Tensor run(const PipelineBatch& batch, const PipelineLoss& loss);

  /// Forward passes alone, of a batch of any number of rows, without gradients: stage by stage in
  /// each rank. The same on every rank.
  void evaluate(const PipelineBatch& batch, const OutputObserver& observer);

 private:
  class Run;
  PipelineSchedule schedule_;
  std::vector<PipelineStage> stages_;  ///< ascending
  std::unique_ptr<StageTransport> transport_;
  PipelineOptions options_;
  bool has_trained_ = false, has_evaluated_ = false;
};

}  // namespace coeus
