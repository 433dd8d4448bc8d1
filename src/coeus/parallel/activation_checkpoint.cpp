#include "coeus/parallel/activation_checkpoint.h"

#include <torch/types.h>

#include <algorithm>
#include <charconv>

#include "coeus/base/error.h"
#include "coeus/nn/linear.h"

namespace coeus {

namespace {

bool is_by_operation(const ActivationCheckpointConfig& config) {
  return config.mode == "selective" && config.selective_ac_option == "op";
}

/// [in, out] of the linear layers of `block` whose name has one of the given parts.
KeptResults::Shapes shapes_of(const nn::Block& block, const std::string& name,
                              const std::vector<std::string>& parts) {
  KeptResults::Shapes shapes;
  for (const auto& item : block.named_modules(name, /*include_self=*/false)) {
    const bool is_meant = std::any_of(parts.begin(), parts.end(), [&](const std::string& part) {
      return item.key().find(part) != std::string::npos;
    });
    if (!is_meant) continue;
    const auto linear = std::dynamic_pointer_cast<nn::LinearImpl>(item.value());
    COEUS_CHECK_CONFIG(linear != nullptr,
                       "activation_checkpoint.per_op_sac_force_recompute_mm_shapes_by_fqns: {} is "
                       "not a linear layer; name one, such as moe.router.gate",
                       item.key());
    shapes.insert({linear->weight.size(1), linear->weight.size(0)});
  }
  return shapes;
}

/// Every how many blocks one is recomputed; 0 for none.
int64_t recompute_every(const ActivationCheckpointConfig& config) {
  if (config.mode == "none") return 0;
  if (config.mode == "full" || is_by_operation(config)) return 1;
  COEUS_CHECK_CONFIG(config.mode == "selective",
                     "activation_checkpoint.mode = \"{}\" is not supported yet; use none, full or "
                     "selective",
                     config.mode);
  const std::string& option = config.selective_ac_option;
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
  if (!is_by_operation(config)) return;
  for (size_t i = 0; i < blocks.size(); ++i)
    blocks[i]->set_recompute_by_operation(
        KeptResults(shapes_of(*blocks[i], fmt::format("layers.{}", i),
                              config.per_op_sac_force_recompute_mm_shapes_by_fqns)));
}

int64_t recomputed_blocks(int64_t blocks, const ActivationCheckpointConfig& config) {
  const int64_t every = recompute_every(config);
  // What is kept by operation is about half of a block's.
  if (is_by_operation(config)) return (blocks + 1) / 2;
  return every == 0 ? 0 : blocks / every;
}

}  // namespace coeus
