// Traces of some steps of a run: [profiling].
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <filesystem>

#include "coeus/train/run_config.h"

namespace coeus {

/// Writes what this process does in some steps as Chrome traces, with LibTorch's profiler and the
/// ranges of TraceLog: of every `profile_freq` steps the last `profiler_active`, after
/// `profiler_warmup` in which the profiler gets ready, into
/// DUMP_FOLDER/save_traces_folder/iteration_STEP/rankRANK_trace.json, where STEP is the last step
/// recorded: names and steps are TorchTitan's. Does nothing unless enable_profiling.
///
/// At most one in a process; it is called from the thread that trains, whose operations it records.
class Profiler {
 public:
  /// `last_step`: how many steps the run has behind it. Throws ConfigError for fewer steps between
  /// traces than a trace takes.
  Profiler(const ProfilingConfig& config, const std::filesystem::path& dump_folder,
           int64_t last_step, int64_t rank = 0);
  /// Drops what was recorded and not saved.
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// Gives the layers of a model (or of a part of one) ranges of their own in traces, "layers.3
  /// forward" and "layers.3 backward": its blocks and what stands beside them. To be called after
  /// everything that adds hooks to layers and before the first forward pass.
  void watch(const torch::nn::Module& model);

  /// A step is over: saves its trace if it was the last one to record. Throws Error if the trace
  /// cannot be written.
  void step();
  /// Training is over: saves what was recorded of a trace that has not come to its end.
  void finish();

 private:
  enum class Action { kNone, kWarmUp, kRecord };
  Action action_of(int64_t step) const;
  void begin(int64_t step);
  void save();

  ProfilingConfig config_;
  std::filesystem::path folder_;
  int64_t rank_;
  int64_t step_;  ///< the last that is over
  Action action_ = Action::kNone;
  int64_t step_begin_ns_ = 0;
};

}  // namespace coeus
