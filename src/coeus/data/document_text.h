// From a record's bytes to the text of a document, with errors that name the file and line.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "coeus/data/data_files.h"

namespace coeus {

/// Where a record lies.
struct RecordPlace {
  const DataFile* file = nullptr;
  uint64_t offset = 0;  ///< byte offset in the (decompressed) file
};

/// The JSON object on a line. Throws DataError, with file and line, for what is none; `expected`
/// ends the message.
nlohmann::json parse_json_line(std::string_view line, const RecordPlace& place,
                               const char* expected);

/// The "text" of a line {"text": …}; other keys are passed over. Throws DataError, with file and
/// line, for what is not a JSON object, has no "text", one that is not a string, or one that
/// holds a NUL character.
std::string text_of_json_line(std::string_view line, const RecordPlace& place);

/// Throws DataError, with file and line, unless the text is UTF-8 without NUL bytes.
void check_plain_text(std::string_view text, const RecordPlace& place);

/// The place of the first byte that does not belong to a character of well-formed UTF-8.
std::optional<size_t> find_invalid_utf8(std::string_view text);

}  // namespace coeus
