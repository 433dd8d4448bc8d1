// Writes values as TOML, in one line each.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "coeus/base/config_schema.h"

namespace coeus {

/// A text as TOML's basic string, with its quotes.
std::string quote_toml(std::string_view text);

/// A number as the shortest TOML float that reads back the same.
std::string float_to_toml(double value);

/// The field's value as TOML; empty for an unset optional.
std::string field_to_toml(const ConfigField& field);

}  // namespace coeus
