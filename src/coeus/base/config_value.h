// Sets fields from TOML nodes and from the texts of flags.
#pragma once

#include <toml++/toml.h>

#include <string>
#include <string_view>

#include "coeus/base/config_mistakes.h"
#include "coeus/base/config_schema.h"

namespace coeus {

/// Sets the field from a TOML value and notes its source; an optional field is also unset by the
/// text "None". A value that the field does not allow is a mistake and leaves it as it was.
void set_field(ConfigField& field, const toml::node& node, const ConfigSource& source,
               ConfigMistakes& mistakes);

/// Sets the field from a flag's text: lists are separated by commas or written as in TOML, and so
/// are tables; None unsets an optional field. False, with the field as it was, for a value that it
/// does not allow. Not for arrays of tables.
bool assign_text(ConfigField& field, std::string_view text);

/// The table {value = …} of `text`, written as on the right of a TOML key; empty if that does not
/// parse.
toml::table parse_toml_value(std::string_view text);

/// A node as it would stand in a file, shortened to fit into a message.
std::string node_to_text(const toml::node& node);

}  // namespace coeus
