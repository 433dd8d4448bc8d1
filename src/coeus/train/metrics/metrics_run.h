// What the metrics must know of a run beside the configuration.
#pragma once

#include <cstdint>
#include <filesystem>

namespace coeus {

/// A run as the metrics see it.
struct MetricsRun {
  std::filesystem::path dump_folder = "./outputs";
  /// Steps of the whole run, and the step that it resumes from (0 for a new run).
  int64_t total_steps = 0;
  int64_t start_step = 0;
  /// Floating-point operations that training spends on one token, forward and backward.
  double flops_per_token = 0;
  /// Peak FLOP/s of one device; 0 where it is not known, as on a CPU: then MFU is not given.
  double peak_flops = 0;
  int rank = 0;
  int n_ranks = 1;
  /// The one rank that prints, shows the progress bar and writes metrics.jsonl.
  bool is_logging_rank = true;
};

}  // namespace coeus
