// What a run tells its user and its files about its progress.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "coeus/train/metrics/json_lines.h"
#include "coeus/train/metrics/log_line.h"
#include "coeus/train/metrics/metrics_run.h"
#include "coeus/train/metrics/process_memory.h"
#include "coeus/train/metrics/progress_bar.h"
#include "coeus/train/metrics/tensorboard.h"
#include "coeus/train/run_config.h"

namespace coeus {

/// What the trainer knows of a logged step. Losses and norms are of the whole job's batch.
struct StepMetrics {
  int64_t step = 0;
  double loss = 0;
  /// The largest of the ranks' own mean losses (TorchTitan's global_max_loss).
  double max_loss = 0;
  /// Before clipping.
  double grad_norm = 0;
  double lr = 0;
  /// Of the whole job since step 1, also over resumes.
  int64_t n_tokens_seen = 0;
  /// When the device was done with the step, seconds of std::chrono::steady_clock; now unless
  /// given.
  std::optional<double> done_at;
  /// More numbers, under names of their own, for metrics.jsonl and TensorBoard.
  Scalars extra;
};

/// Where time comes from; tests bring their own.
struct Clock {
  std::function<double()> monotonic_seconds;
  std::function<double()> unix_seconds;
  static Clock system();
};

/// TorchTitan's MetricsProcessor: its log line, its TensorBoard tags, metrics.jsonl and a progress
/// bar. The trainer calls, for every step: add_batch() for each micro-batch, log() if should_log(),
/// and progress(). docs/metrics.md describes what comes out.
class MetricsProcessor {
 public:
  /// Makes the files and folders. On a CPU leave `memory` out: the process's own memory counts.
  /// Throws ConfigError if a key of `config` is wrong or a file cannot be written.
  MetricsProcessor(const MetricsConfig& config, const MetricsRun& run,
                   std::unique_ptr<MemoryMonitor> memory = nullptr, Clock clock = Clock::system());

  /// Whether `step` (from 1) is one to log: the first, and every log_freq-th.
  bool should_log(int64_t step) const { return step == 1 || step % config_.log_freq == 0; }

  /// One micro-batch came from the loader: its tokens, counted over all ranks, and how long this
  /// rank waited for it. Between begin_validation() and log_validation() it is a validation batch.
  void add_batch(int64_t n_tokens, double data_wait_seconds);

  /// Prints the line and writes the files for a step that is done, over all steps since the last
  /// log(); then starts counting anew.
  void log(const StepMetrics& metrics);

  /// Moves the bar. Without a loss (a step that is not logged, when fetching it would stall the
  /// device) the bar keeps showing the last one.
  void progress(int64_t step, std::optional<double> loss = std::nullopt);

  /// Stops the clock of training: validation's time and tokens do not count as training's.
  void begin_validation();
  /// Prints TorchTitan's validation line, writes `validation_loss` (no `loss`) to the files and
  /// goes back to training. Throws Error without begin_validation().
  void log_validation(int64_t step, double loss);

  /// Takes the bar away; the last thing a run does with its metrics, also done when destroyed.
  void close() { bar_.reset(); }

 private:
  /// What gathered since the last log.
  struct Interval {
    double started = 0;
    int64_t n_tokens = 0;
    int64_t n_batches = 0;
    double data_wait_seconds = 0;
  };

  MemoryPeak memory_peak();
  LogLine line_of(int64_t step, double loss, const MemoryPeak& memory, double tps) const;

  const MetricsConfig config_;
  const MetricsRun run_;
  std::unique_ptr<MemoryMonitor> memory_;
  const Clock clock_;
  std::optional<MetricsFile> file_;
  std::optional<EventWriter> tensorboard_;
  std::optional<ProgressBar> bar_;
  Interval interval_;
  std::optional<Interval> validation_;
  int64_t last_logged_step_;
  int64_t n_tokens_ = 0;
};

}  // namespace coeus
