// The [moe] section, coeus's own: what a run changes of a model's mixture-of-experts layers.
#pragma once

#include <optional>

namespace coeus {

class ConfigSection;

/// [moe].
struct MoEConfig {
  std::optional<double> load_balance_coeff;  ///< 0: no bias; absent: the flavour's
  double sequence_balance_loss_coeff = 0;
  double z_loss_coeff = 0;
  bool operator==(const MoEConfig&) const = default;
};

/// Names the section's keys, their meaning and their allowed values to the configuration reader.
void describe(MoEConfig& config, ConfigSection& section);

namespace nn {
struct MoEOptions;
}

/// Puts the run's choices into a flavour's options; force_load_balance is
/// training.debug_moe_force_load_balance.
void apply(const MoEConfig& config, bool force_load_balance, nn::MoEOptions& moe);

}  // namespace coeus
