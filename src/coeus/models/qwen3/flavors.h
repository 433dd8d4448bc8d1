#pragma once

#include <map>
#include <string>

#include "coeus/models/qwen3/model.h"

namespace coeus::qwen3 {

/// TorchTitan's flavours; debugmodel, debugmodel_tied and debugmodel_moe_small, small enough for
/// any machine; and a `…_flex_attn` twin of each, which masks by document.
const std::map<std::string, Sizes>& flavors();

}  // namespace coeus::qwen3
