// Prints a configuration: as a file that gives it again, and as documentation of what may be set.
#pragma once

#include <functional>
#include <string>

#include "coeus/base/config_schema.h"

namespace coeus {

/// All fields as a TOML file, each with a comment that says where its value came from. Unset fields
/// stand in comments.
std::string print_effective_toml(const ConfigSchema& schema);

/// The keys of all sections as Markdown tables: key, what it takes, default, meaning and `state`,
/// what the caller says about whether the key works. The fields must hold their defaults.
std::string print_reference(const ConfigSchema& schema,
                            const std::function<std::string(const ConfigField&)>& state);

}  // namespace coeus
