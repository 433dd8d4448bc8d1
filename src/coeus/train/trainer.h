// The training loop: read train() and train_step() from top to bottom.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coeus/checkpoint/checkpointer.h"
#include "coeus/data/loader.h"
#include "coeus/models/model.h"
#include "coeus/ops/attention_report.h"
#include "coeus/optim/learning_rate.h"
#include "coeus/optim/optimizer.h"
#include "coeus/train/job_config.h"
#include "coeus/train/metrics/metrics_processor.h"
#include "coeus/train/validation.h"

namespace coeus {

/// Trains one model as configured.
class Trainer {
 public:
  /// Builds everything and checks that it fits, before any step. Throws ConfigError, DataError or
  /// OutOfMemoryError for what the user can mend.
  explicit Trainer(const JobConfig& config);
  ~Trainer();

  /// Trains from where the checkpoints say to the last step, or until a signal asks to stop.
  /// Throws NonFiniteError, DataError or CheckpointError when it cannot go on.
  void train();

 private:
  struct StepResult {
    double loss = 0;
    double grad_norm = 0;
    double lr = 0;
  };

  void load_checkpoint();
  StepResult train_step();
  double forward_backward(const Batch& batch, int64_t valid_labels);
  std::vector<Batch> next_micro_batches();
  std::string find_bad_output(const std::vector<Batch>& micro_batches);
  at::ScalarType mixed_precision() const;
  bool checks_attention() const;
  void save_checkpoint(bool last_step);
  void report(const StepResult& result);
  void report_memory() const;
  TrainingState training_state() const;

  const JobConfig config_;
  const std::shared_ptr<AttentionReport> attention_report_ = std::make_shared<AttentionReport>();
  std::shared_ptr<Model> model_;
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<Optimizer> optimizer_;
  LearningRate learning_rate_;
  std::unique_ptr<Checkpointer> checkpointer_;
  std::unique_ptr<Validator> validator_;
  std::unique_ptr<MetricsProcessor> metrics_;
  int64_t gradient_accumulation_steps_ = 1;
  int64_t first_step_ = 1;
  int64_t last_saved_step_ = -1;
  int64_t step_ = 0;
  int64_t lr_step_ = 0;  ///< of the learning rate's schedule; behind step_ if it was started anew
  int64_t n_tokens_seen_ = 0;
};

}  // namespace coeus
