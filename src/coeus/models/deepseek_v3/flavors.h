#pragma once

#include <map>
#include <string>

#include "coeus/models/deepseek_v3/model.h"

namespace coeus::deepseek_v3 {

/// TorchTitan's flavours: all but debugmodel mask by document. 236B (DeepSeek-V2) and 671B route
/// node-limited, as they were trained.
const std::map<std::string, Sizes>& flavors();

}  // namespace coeus::deepseek_v3
