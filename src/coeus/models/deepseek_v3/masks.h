// Which tokens DeepSeek-V3's layers let see each other.
#pragma once

#include <span>

#include "coeus/mask/block_mask.h"
#include "coeus/mask/mask.h"
#include "coeus/mask/sequence_layout.h"

namespace coeus::deepseek_v3 {

/// The name of the one mask that all layers share.
inline constexpr const char* kMaskName = "attention";

/// The mask of all flavours but debugmodel: causal within each packed document.
Mask block_causal();

/// The model's only mask, lowered for the rows of a batch.
AttentionMasks get_attention_masks(const Mask& mask, std::span<const SequenceLayout> rows);

}  // namespace coeus::deepseek_v3
