// The [optimizer] and [lr_scheduler] sections: TorchTitan's keys and defaults.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace coeus {

class ConfigSection;

/// [optimizer]. The member names are the keys of the section, here as in every other section.
struct OptimizerConfig {
  std::string name = "AdamW";  ///< "AdamW" or "Adam"
  double lr = 8e-4;            ///< at its peak; the schedule's factor multiplies it
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  std::string implementation = "fused";  ///< "fused", "foreach" or "for-loop"
  bool early_step_in_backward = false;
  bool operator==(const OptimizerConfig&) const = default;
};

/// [lr_scheduler]: linear warmup, then constant, then decay.
struct LrSchedulerConfig {
  std::int64_t warmup_steps = 200;
  std::optional<double> decay_ratio;  ///< part of all steps; unset: decay begins after the warmup
  std::string decay_type = "linear";  ///< "linear", "sqrt" or "cosine"
  double min_lr_factor = 0.0;
  bool operator==(const LrSchedulerConfig&) const = default;
};

/// Names the section's keys, their meaning and their allowed values to the configuration reader.
void describe(OptimizerConfig& config, ConfigSection& section);
void describe(LrSchedulerConfig& config, ConfigSection& section);

}  // namespace coeus
