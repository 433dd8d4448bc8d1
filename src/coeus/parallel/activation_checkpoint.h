#pragma once

#include <vector>

#include "coeus/nn/block.h"
#include "coeus/parallel/activation_checkpoint_config.h"

namespace coeus {

/// Decides which blocks keep their intermediate results and which recompute them in backward: mode
/// "none" none, "full" all, "selective" every n-th (selective_ac_option = "n"), counted as
/// TorchTitan counts, or (selective_ac_option = "op") all but attention and every second linear
/// layer in each block. Losses are the same bit for bit. Throws ConfigError for an option that is
/// not supported, and for a module to recompute that is no linear layer.
void apply_activation_checkpoint(const std::vector<nn::Block*>& blocks,
                                 const ActivationCheckpointConfig& config);

/// How many of `blocks` blocks would be recomputed; by operation, as many as make about the same
/// memory.
int64_t recomputed_blocks(int64_t blocks, const ActivationCheckpointConfig& config);

}  // namespace coeus
