#include "coeus/models/llama4/masks.h"

#include "coeus/mask/lower.h"

namespace coeus::llama4 {

Masks causal_masks() { return {{kMaskName, mask::causal()}}; }

Masks irope_masks(int64_t fixed_attn_block_size) {
  const Mask block_causal = mask::causal() & mask::document();
  return {{kRopeMaskName, block_causal & mask::chunk(fixed_attn_block_size)},
          {kNopeMaskName, block_causal}};
}

AttentionMasks get_attention_masks(const Masks& masks, std::span<const SequenceLayout> rows) {
  AttentionMasks lowered;
  for (const auto& [name, mask] : masks) lowered.emplace(name, lower(mask, rows));
  return lowered;
}

}  // namespace coeus::llama4
