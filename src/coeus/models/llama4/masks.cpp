#include "coeus/models/llama4/masks.h"

namespace coeus::llama4 {

Masks causal_masks() { return {{kMaskName, mask::causal()}}; }

Masks irope_masks(int64_t fixed_attn_block_size) {
  const Mask block_causal = mask::causal() & mask::document();
  return {{kRopeMaskName, block_causal & mask::chunk(fixed_attn_block_size)},
          {kNopeMaskName, block_causal}};
}

}  // namespace coeus::llama4
