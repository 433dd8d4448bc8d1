#pragma once

#include <map>
#include <string>

#include "add_a_model/model.h"

namespace coeus::palm {

/// PaLM 8B, a model to try things out, and the same with layers that take turns in seeing 16 tokens
/// and all.
const std::map<std::string, Sizes>& flavors();

}  // namespace coeus::palm
