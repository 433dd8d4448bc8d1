// The sections of what surrounds a run: [comm], [memory_estimation], [fault_tolerance] and
// [experimental].
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace coeus {

class ConfigSection;

/// [comm].
struct CommConfig {
  std::int64_t init_timeout_seconds = 300;
  std::int64_t train_timeout_seconds = 100;
  std::int64_t trace_buf_size = 20000;
  std::string save_traces_folder = "comm_traces";
  std::string save_traces_file_prefix = "rank_";
  bool operator==(const CommConfig&) const = default;
};

/// [memory_estimation].
struct MemoryEstimationConfig {
  bool enable = false;
  bool disable_fake_mode = false;
  bool operator==(const MemoryEstimationConfig&) const = default;
};

/// [fault_tolerance].
struct FaultToleranceConfig {
  bool enable = false;
  std::string process_group = "gloo";  ///< "gloo" or "nccl"
  std::int64_t process_group_timeout_ms = 10000;
  std::int64_t replica_id = 0;
  std::int64_t group_size = 0;
  std::int64_t min_replica_size = 1;
  std::optional<std::string> semi_sync_method;  ///< "local_sgd" or "diloco"
  bool operator==(const FaultToleranceConfig&) const = default;
};

/// [experimental].
struct ExperimentalConfig {
  std::string custom_import;
  std::string custom_args_module;
  bool operator==(const ExperimentalConfig&) const = default;
};

/// Name the sections' keys, their meaning and their allowed values to the configuration reader.
void describe(CommConfig& config, ConfigSection& section);
void describe(MemoryEstimationConfig& config, ConfigSection& section);
void describe(FaultToleranceConfig& config, ConfigSection& section);
void describe(ExperimentalConfig& config, ConfigSection& section);

}  // namespace coeus
