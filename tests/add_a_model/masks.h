// Which tokens PaLM's layers let see each other.
#pragma once

#include <map>
#include <string>

#include "coeus/mask/mask.h"

namespace coeus::palm {

/// The mask of layers that see all of what comes before, and of those that see what is near.
inline constexpr const char* kGlobalMaskName = "global";
inline constexpr const char* kLocalMaskName = "local";

/// A flavour's masks, each under the name by which layers take it.
using Masks = std::map<std::string, Mask>;

/// PaLM's own: every layer sees all earlier tokens of its document.
Masks global_masks();

/// For layers that take turns: a local one sees its document's last `window` tokens.
Masks local_and_global_masks(int64_t window);

}  // namespace coeus::palm
