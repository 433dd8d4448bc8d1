// The training loop: read train() and train_step() from top to bottom.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "coeus/checkpoint/checkpointer.h"
#include "coeus/comm/parallel_groups.h"
#include "coeus/data/loader.h"
#include "coeus/ops/attention_report.h"
#include "coeus/ops/host_copy.h"
#include "coeus/optim/learning_rate.h"
#include "coeus/optim/optimizer.h"
#include "coeus/parallel/context/plan/context_rows.h"
#include "coeus/train/group_ranks.h"
#include "coeus/train/job_config.h"
#include "coeus/train/job_ranks.h"
#include "coeus/train/metrics/metrics_processor.h"
#include "coeus/train/parallel_model.h"
#include "coeus/train/profiler.h"
#include "coeus/train/stop_signal.h"
#include "coeus/train/validation.h"

namespace coeus {

/// One rank's work in training a model as configured.
class Trainer {
 public:
  /// When a step's numbers (its loss and the norm of its gradients) are read and checked. Until
  /// then its micro-batches are kept, and a step that was not finite has changed nothing, nor has
  /// any after it.
  enum class Reading {
    kAtOnce,  ///< on a CPU, which has them
    kLate,    ///< on a GPU: with the next step under way, or as soon as they are needed
  };

  /// `ranks` outlives this. Builds everything and checks that it fits, before any step. `reading`:
  /// that of the device unless a test wants another. Throws ConfigError, DataError or
  /// OutOfMemoryError for what the user can mend.
  Trainer(const JobConfig& config, JobRanks& ranks, std::optional<Reading> reading = {});
  ~Trainer();

  /// Trains from where the checkpoints say to the last step, or until a signal asks to stop.
  /// Throws NonFiniteError, DataError or CheckpointError when it cannot go on.
  void train();

 private:
  /// A step that the device was given whole, and what is to be known of it.
  struct StepUnderWay {
    int64_t number = 0;
    double lr = 0;
    int64_t n_tokens_seen = 0;
    std::vector<Batch> micro_batches;
    std::vector<double> data_wait_seconds;  ///< one a micro-batch
    at::Tensor gradient_norms;              ///< of each parameter
    std::optional<HostCopy> numbers;        ///< float64: loss, largest loss, norm of gradients
    std::function<Scalars()> metrics;       ///< of a step to log
  };

  void load_checkpoint();
  StepUnderWay train_step();
  /// Reads, checks and reports the step under way, if there is one.
  void finish_step();
  /// The mean over all of the job's labels, and the largest of the ranks' own means, float64 []. Of
  /// this rank: what its passes added to the mean; how many labels it has.
  std::pair<at::Tensor, at::Tensor> losses_over_ranks(const at::Tensor& own_loss,
                                                      const at::Tensor& valid_labels,
                                                      int64_t own_labels);
  /// float32 [].
  at::Tensor gradient_norm_over_ranks(const at::Tensor& gradient_norms);
  void take_micro_batches(StepUnderWay& step);
  /// Of the whole job.
  int64_t tokens_of(const Batch& batch) const;
  std::string find_bad_output(const std::vector<Batch>& micro_batches);
  bool checks_attention() const;
  /// Whether any rank was told to stop: all say the same.
  bool stops(const StopSignal& stop);
  void save_checkpoint(bool last_step);
  std::function<Scalars()> step_metrics() const;
  void report_memory() const;
  TrainingState training_state() const;

  const JobConfig config_;
  JobRanks& ranks_;
  const ParallelGroups groups_;
  const at::Device device_;
  const Reading reading_;
  const std::shared_ptr<AttentionReport> attention_report_ = std::make_shared<AttentionReport>();
  std::unique_ptr<ParallelModel> model_;
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<Optimizer> optimizer_;
  at::Tensor copies_;  ///< float64 [parameters]: how many ranks hold the same
  LearningRate learning_rate_;
  std::unique_ptr<GroupRanks> checkpoint_ranks_;
  std::unique_ptr<Checkpointer> checkpointer_;
  std::unique_ptr<Validator> validator_;
  std::unique_ptr<MetricsProcessor> metrics_;
  std::unique_ptr<Profiler> profiler_;
  std::optional<ContextRowPlanner> shown_planner_;  ///< if the first batch's plan is to be shown
  std::optional<StepUnderWay> under_way_;
  int64_t gradient_accumulation_steps_ = 1;
  int64_t first_step_ = 1;
  int64_t last_saved_step_ = -1;
  int64_t step_ = 0;
  int64_t lr_step_ = 0;  ///< of the learning rate's schedule; behind step_ if it was started anew
  int64_t n_tokens_seen_ = 0;
};

/// Trains in a job of this process alone.
void train_alone(const JobConfig& config);

}  // namespace coeus
