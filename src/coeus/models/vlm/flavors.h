#pragma once

#include <map>
#include <string>

#include "coeus/models/vlm/model.h"

namespace coeus::vlm {

/// TorchTitan's flavour, and Llama 3 8B with Siglip2's base encoder.
const std::map<std::string, Sizes>& flavors();

}  // namespace coeus::vlm
