// The model of a job as one rank holds it, and how a batch goes through it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "coeus/data/batch.h"
#include "coeus/models/model_part.h"
#include "coeus/ops/attention_report.h"
#include "coeus/parallel/pipeline/runtime.h"
#include "coeus/train/job_config.h"

namespace coeus {

class Profiler;

/// This rank's parts of the model: all of it, or the stages of a pipeline that are its own.
class ParallelModel {
 public:
  /// `whole`: the model that the configuration names, which may be without memory. Parameters are
  /// allocated, not initialised. Throws ConfigError for a model that cannot be split as asked for.
  ParallelModel(const JobConfig& config, const ParallelGroups& groups, const Model& whole,
                const at::Device& device);
  ~ParallelModel();

  void init_weights(uint64_t seed);
  void report_attention(const std::shared_ptr<AttentionReport>& report);
  void watch(Profiler& profiler);

  /// Before a step's first pass; `rows`: of the step, on all ranks.
  void begin_step(int64_t rows);
  /// Forward and backward of one micro-batch of a step. Returns what it adds to the loss, the sum
  /// of its labels' losses divided by `divisor`, float32 [] on the device as that; on the ranks of
  /// a pipeline's last stage, 0 on others. `last`: of the step; gradients are complete, sums over
  /// all ranks, after it. The device is not waited for.
  at::Tensor forward_backward(const Batch& batch, const at::Tensor& divisor, bool last);
  /// After the last pass, before parameters are updated. `updates`: see Model.
  void before_optimizer_step(const at::Tensor& updates);
  /// The sum of the labels' losses without gradients, float64 [] on the device; as above in a
  /// pipeline.
  at::Tensor evaluate(const Batch& batch);
  /// Which output goes bad first (see non_finite.h); "" in a pipeline, where nobody sees them all.
  std::string first_bad_output(const Batch& batch);

  /// Parameters of all parts by name, and how many ranks of the stage hold the same of each.
  std::vector<std::pair<std::string, at::Tensor>> parameters() const;
  std::vector<int64_t> copies() const;
  /// What checkpoints hold, and what of it this rank has.
  NamedTensors checkpoint_tensors() const;
  HeldSlices held_slices() const;
  /// Of the whole job and the step whose passes are over; all ranks call it, and what it returns,
  /// once, for the metrics. The latter may wait until the next step is under way: it waits for the
  /// device.
  std::function<std::vector<std::pair<std::string, double>>()> step_metrics() const;

 private:
  void build_pipeline(const JobConfig& config, const Model& whole);
  ModelPart& part_of(int64_t stage);

  const ParallelGroups groups_;
  const at::Device device_;
  at::ScalarType mixed_precision_;
  std::vector<std::unique_ptr<ModelPart>> parts_;
  std::vector<int64_t> stages_;  ///< of the parts, in a pipeline
  std::unique_ptr<PipelineRuntime> pipeline_;
  bool last_batch_ = true;
  int64_t seq_len_ = 0;
};

}  // namespace coeus
