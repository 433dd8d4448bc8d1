// Reads a TOML file into the structs behind a schema.
#pragma once

#include <string>
#include <string_view>

#include "coeus/base/config_mistakes.h"
#include "coeus/base/config_schema.h"

namespace coeus {

/// Sets the fields that the file at `path` names; their sources are its lines. Adds to `mistakes`:
/// a file that cannot be read or is not TOML (with line and column), unknown sections and keys, and
/// values that a field does not allow, which leave it as it was.
void read_config_file(ConfigSchema& schema, const std::string& path, ConfigMistakes& mistakes);

/// As read_config_file for text that is already here; `file` is its name in messages.
void read_config_toml(ConfigSchema& schema, std::string_view text, const std::string& file,
                      ConfigMistakes& mistakes);

}  // namespace coeus
