#include "coeus/models/qwen3/masks.h"

#include "coeus/mask/lower.h"

namespace coeus::qwen3 {

Mask block_causal() { return mask::causal() & mask::document(); }

AttentionMasks get_attention_masks(const Mask& mask, std::span<const SequenceLayout> rows) {
  return {{kMaskName, lower(mask, rows)}};
}

}  // namespace coeus::qwen3
