// The JSON header of a safetensors file, before its numbers are checked against the file.
#pragma once

#include <string>
#include <string_view>

#include "coeus/checkpoint/safetensors.h"

namespace coeus {

/// Reads the header's text: names, dtypes, shapes and offsets as they stand (offsets count from the
/// end of the header). Throws CheckpointError, with the byte of the file, on anything but an object
/// of the format's form: other JSON types, missing or unknown keys, the same key twice, fractions,
/// negative numbers. Nothing deeper than the format's three levels is followed.
SafetensorsHeader parse_safetensors_json(std::string_view text, const std::string& file);

}  // namespace coeus
