// What a user is told about a configuration that is wrong: everything at once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "coeus/base/config_schema.h"

namespace coeus {

/// The mistakes found so far, each a line that begins with its place (file and line, or flag).
/// Reading goes on after a mistake, so that a user learns all of them in one go.
using ConfigMistakes = std::vector<std::string>;

/// All mistakes as the message of one error.
std::string join_mistakes(const ConfigMistakes& mistakes);

/// "; did you mean optimizer.lr?" for an unknown key, with `before_key` ("--" for flags) put before
/// the suggestion; the section's keys when none is near.
std::string key_hint(const ConfigSchema& schema, std::string_view unknown_key,
                     std::string_view before_key = "");

}  // namespace coeus
