// The [activation_checkpoint] section: TorchTitan's keys and defaults.
#pragma once

#include <string>
#include <vector>

namespace coeus {

class ConfigSection;

/// [activation_checkpoint].
struct ActivationCheckpointConfig {
  std::string mode = "selective";         ///< "none", "selective", "full" or "memory_budget"
  std::string selective_ac_option = "2";  ///< "op", or n for every n-th layer, as text
  std::vector<std::string> per_op_sac_force_recompute_mm_shapes_by_fqns = {"moe.router.gate"};
  bool early_stop = false;
  double memory_budget = 0.5;
  bool visualize_memory_budget_pareto = false;
  bool operator==(const ActivationCheckpointConfig&) const = default;
};

/// Names the section's keys, their meaning and their allowed values to the configuration reader.
void describe(ActivationCheckpointConfig& config, ConfigSection& section);

}  // namespace coeus
