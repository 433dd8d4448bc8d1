// The training loop: read train() and train_step() from top to bottom.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coeus/checkpoint/checkpointer.h"
#include "coeus/comm/parallel_groups.h"
#include "coeus/data/loader.h"
#include "coeus/ops/attention_report.h"
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
  /// `ranks` outlives this. Builds everything and checks that it fits, before any step. Throws
  /// ConfigError, DataError or OutOfMemoryError for what the user can mend.
  Trainer(const JobConfig& config, JobRanks& ranks);
  ~Trainer();

  /// Trains from where the checkpoints say to the last step, or until a signal asks to stop.
  /// Throws NonFiniteError, DataError or CheckpointError when it cannot go on.
  void train();

 private:
  struct StepResult {
    double loss = 0;
    double max_loss = 0;
    double grad_norm = 0;
    double lr = 0;
  };

  void load_checkpoint();
  StepResult train_step();
  /// The mean over all of the job's labels of what this rank's passes added to it.
  void sum_losses(StepResult& result, int64_t own_labels, int64_t valid_labels);
  double gradient_norm_over_ranks();
  std::vector<Batch> next_micro_batches();
  std::string find_bad_output(const std::vector<Batch>& micro_batches);
  bool checks_attention() const;
  /// Whether any rank was told to stop: all say the same.
  bool stops(const StopSignal& stop);
  void save_checkpoint(bool last_step);
  void report(const StepResult& result);
  void report_memory() const;
  TrainingState training_state() const;

  const JobConfig config_;
  JobRanks& ranks_;
  const ParallelGroups groups_;
  const at::Device device_;
  const std::shared_ptr<AttentionReport> attention_report_ = std::make_shared<AttentionReport>();
  std::unique_ptr<ParallelModel> model_;
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<Optimizer> optimizer_;
  LearningRate learning_rate_;
  std::unique_ptr<GroupRanks> checkpoint_ranks_;
  std::unique_ptr<Checkpointer> checkpointer_;
  std::unique_ptr<Validator> validator_;
  std::unique_ptr<MetricsProcessor> metrics_;
  std::unique_ptr<Profiler> profiler_;
  std::optional<ContextRowPlanner> shown_planner_;  ///< if the first batch's plan is to be shown
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
