// Which tokens Llama 3's layers let see each other.
#pragma once

#include "coeus/mask/mask.h"

namespace coeus::llama3 {

/// The name of the one mask that all layers share.
inline constexpr const char* kMaskName = "attention";

/// The mask of the flavours `…_flex_attn`: causal within each packed document.
Mask block_causal();

}  // namespace coeus::llama3
