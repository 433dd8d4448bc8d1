#include "coeus/parallel/activation_checkpoint.h"

#include <charconv>

#include "coeus/base/error.h"

namespace coeus {

namespace {

/// Every how many blocks one is recomputed; 0 for none.
int64_t recompute_every(const ActivationCheckpointConfig& config) {
  if (config.mode == "none") return 0;
  if (config.mode == "full") return 1;
  COEUS_CHECK_CONFIG(config.mode == "selective",
                     "activation_checkpoint.mode = \"{}\" is not supported yet; use none, full or "
                     "selective",
                     config.mode);
  const std::string& option = config.selective_ac_option;
  COEUS_CHECK_CONFIG(option != "op",
                     "activation_checkpoint.selective_ac_option = \"op\" is not supported yet; "
                     "give n as text to recompute every n-th layer");
  int64_t every = -1;
  const auto [end, error] = std::from_chars(option.data(), option.data() + option.size(), every);
  COEUS_CHECK_CONFIG(error == std::errc() && end == option.data() + option.size() && every >= 0,
                     "activation_checkpoint.selective_ac_option = \"{}\" must be \"op\" or a whole "
                     "number of layers",
                     option);
  // TorchTitan takes 0 for every layer.
  return every == 0 ? 1 : every;
}

}  // namespace

void apply_activation_checkpoint(const std::vector<nn::Block*>& blocks,
                                 const ActivationCheckpointConfig& config) {
  const int64_t every = recompute_every(config);
  for (size_t i = 0; i < blocks.size(); ++i)
    blocks[i]->set_recompute(every > 0 && (static_cast<int64_t>(i) + 1) % every == 0);
}

int64_t recomputed_blocks(int64_t blocks, const ActivationCheckpointConfig& config) {
  const int64_t every = recompute_every(config);
  return every == 0 ? 0 : blocks / every;
}

}  // namespace coeus
