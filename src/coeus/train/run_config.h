// The sections that say how a run is kept and watched: [job], [metrics] and [profiling].
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace coeus {

class ConfigSection;

/// [job].
struct JobSection {
  std::optional<std::string> config_file;  ///< the file that was read
  std::string dump_folder = "./outputs";
  std::string description = "default job";
  bool print_args = false;
  std::string device = "auto";  ///< "auto", "cpu" or "cuda"; coeus's own key
  bool operator==(const JobSection&) const = default;
};

/// [metrics].
struct MetricsConfig {
  std::int64_t log_freq = 10;  ///< steps
  bool enable_tensorboard = false;
  bool disable_color_printing = false;
  std::string save_tb_folder = "tb";  ///< under job.dump_folder
  bool save_for_all_ranks = false;
  bool enable_wandb = false;
  bool operator==(const MetricsConfig&) const = default;
};

/// [profiling].
struct ProfilingConfig {
  bool enable_profiling = false;
  std::string save_traces_folder = "profile_traces";
  std::int64_t profile_freq = 10;
  std::int64_t profiler_active = 1;
  std::int64_t profiler_warmup = 3;
  bool enable_memory_snapshot = false;
  std::string save_memory_snapshot_folder = "memory_snapshot";
  bool operator==(const ProfilingConfig&) const = default;
};

/// Name the sections' keys, their meaning and their allowed values to the configuration reader.
void describe(JobSection& config, ConfigSection& section);
void describe(MetricsConfig& config, ConfigSection& section);
void describe(ProfilingConfig& config, ConfigSection& section);

}  // namespace coeus
