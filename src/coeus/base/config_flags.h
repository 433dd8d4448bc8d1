// Reads the command line's flags into the structs behind a schema.
#pragma once

#include <string>
#include <vector>

#include "coeus/base/config_mistakes.h"
#include "coeus/base/config_schema.h"

namespace coeus {

/// One flag, its key spelt as the schema's.
struct ConfigFlag {
  std::string key;
  std::string text;
  std::string spelled;  ///< for messages: "--training.steps"
};

/// Command-line arguments, taken apart.
struct ConfigArguments {
  std::vector<ConfigFlag> flags;
  std::vector<std::string> others;  ///< what belongs to no flag
};

/// Takes arguments apart: `--section.key value`, `--section.key=value`, and for fields that are
/// true or false `--section.key` and `--section.no_key`; '-' may stand for '_' in keys, and the
/// entries of a table of texts are keys of their own. Adds unknown flags and missing values to
/// `mistakes`.
ConfigArguments parse_config_arguments(const ConfigSchema& schema,
                                       const std::vector<std::string>& arguments,
                                       ConfigMistakes& mistakes);

/// Sets what the flags say, in their order, over what was set before.
void read_config_flags(ConfigSchema& schema, const std::vector<ConfigFlag>& flags,
                       ConfigMistakes& mistakes);

}  // namespace coeus
