#pragma once

#include <map>
#include <string>

#include "coeus/models/llama3/model.h"

namespace coeus::llama3 {

/// TorchTitan's flavours, Llama 3.2's 1B and 3B (without weight tying), and a `…_flex_attn` twin of
/// each, which masks by document.
const std::map<std::string, Sizes>& flavors();

}  // namespace coeus::llama3
