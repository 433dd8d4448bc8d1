// Which tokens DeepSeek-V3's layers let see each other.
#pragma once

#include "coeus/mask/mask.h"

namespace coeus::deepseek_v3 {

/// The name of the one mask that all layers share.
inline constexpr const char* kMaskName = "attention";

/// The mask of all flavours but debugmodel: causal within each packed document.
Mask block_causal();

}  // namespace coeus::deepseek_v3
