// The [checkpoint] section: TorchTitan's keys and defaults.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace coeus {

class ConfigSection;

/// [checkpoint].
struct CheckpointConfig {
  bool enable = false;
  std::string folder = "checkpoint";  ///< under job.dump_folder
  std::int64_t interval = 500;        ///< steps
  std::optional<std::string> initial_load_path;
  bool initial_load_model_only = true;
  bool initial_load_in_hf = false;
  bool initial_load_in_hf_quantized = false;
  bool last_save_model_only = true;
  bool last_save_in_hf = false;
  std::string export_dtype = "float32";  ///< "float32", "bfloat16" or "float16"
  std::string async_mode = "disabled";   ///< "disabled", "async" or "async_with_pinned_mem"
  std::int64_t keep_latest_k = 10;       ///< 0 keeps all
  std::int64_t load_step = -1;           ///< -1 loads the latest
  std::vector<std::string> exclude_from_loading;
  bool enable_first_step_checkpoint = false;
  bool create_seed_checkpoint = false;
  bool load_only = false;
  bool operator==(const CheckpointConfig&) const = default;
};

/// Names the section's keys, their meaning and their allowed values to the configuration reader.
void describe(CheckpointConfig& config, ConfigSection& section);

}  // namespace coeus
