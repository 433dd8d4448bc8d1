#include "coeus/nn/moe/moe_config.h"

#include "coeus/base/config_schema.h"
#include "coeus/nn/moe/moe_options.h"

namespace coeus {

void describe(MoEConfig& config, ConfigSection& section) {
  section
      .field("load_balance_coeff", config.load_balance_coeff,
             "How far an expert's routing bias moves in a step towards even use; 0 for no bias. "
             "Without it the flavour's own.")
      .at_least(0);
  section
      .field("sequence_balance_loss_coeff", config.sequence_balance_loss_coeff,
             "Weight of DeepSeek-V3's balance loss of each row.")
      .at_least(0);
  section.field("z_loss_coeff", config.z_loss_coeff, "Weight of the router's z-loss (ST-MoE).")
      .at_least(0);
}

void apply(const MoEConfig& config, bool force_load_balance, nn::MoEOptions& moe) {
  if (config.load_balance_coeff) {
    moe.load_balance_coeff = config.load_balance_coeff;
    if (*config.load_balance_coeff == 0) moe.load_balance_coeff.reset();
  }
  moe.sequence_balance_loss_coeff = config.sequence_balance_loss_coeff;
  moe.z_loss_coeff = config.z_loss_coeff;
  moe.force_load_balance = force_load_balance;
}

}  // namespace coeus
