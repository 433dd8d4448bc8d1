#include "coeus/models/deepseek_v3/masks.h"

#include "coeus/mask/lower.h"

namespace coeus::deepseek_v3 {

Mask block_causal() { return mask::causal() & mask::document(); }

AttentionMasks get_attention_masks(const Mask& mask, std::span<const SequenceLayout> rows) {
  return {{kMaskName, lower(mask, rows)}};
}

}  // namespace coeus::deepseek_v3
