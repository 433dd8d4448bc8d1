// Which tokens Llama 4's layers let see each other.
#pragma once

#include <map>
#include <string>

#include "coeus/mask/mask.h"

namespace coeus::llama4 {

/// The mask of all layers in flavours without iRoPE.
inline constexpr const char* kMaskName = "attention";
/// In flavours with iRoPE, the masks of layers with and without rotary positions.
inline constexpr const char* kRopeMaskName = "rope";
inline constexpr const char* kNopeMaskName = "nope";

/// A flavour's masks, each under the name by which layers take it.
using Masks = std::map<std::string, Mask>;

/// Every layer sees all earlier tokens.
Masks causal_masks();

/// iRoPE: layers with rotary positions see earlier tokens of their document in their own block of
/// `fixed_attn_block_size` places, those without all earlier tokens of their document.
Masks irope_masks(int64_t fixed_attn_block_size);

}  // namespace coeus::llama4
