#pragma once

#include <map>
#include <string>

#include "coeus/models/llama4/model.h"

namespace coeus::llama4 {

/// TorchTitan's flavours: debugmodel, 17bx16e (Scout) and 17bx128e (Maverick), causal, and an
/// `…_irope` twin of each.
const std::map<std::string, Sizes>& flavors();

}  // namespace coeus::llama4
