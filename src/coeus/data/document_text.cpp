#include "coeus/data/document_text.h"

#include <unicode/utf8.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "coeus/base/error.h"
#include "coeus/data/byte_reader.h"

namespace coeus {

namespace {

using nlohmann::json;

std::string line_of(const RecordPlace& place, size_t within = 0) {
  return line_at(*place.file, place.offset + within);
}

constexpr const char* kExpected = "expected one JSON object a line, such as {\"text\": \"…\"}";

}  // namespace

std::optional<size_t> find_invalid_utf8(std::string_view text) {
  constexpr uint64_t kHighBits = 0x8080808080808080ull;
  for (size_t i = 0; i < text.size();) {
    uint64_t word;
    if (text.size() - i >= sizeof word) {
      std::memcpy(&word, text.data() + i, sizeof word);
      if ((word & kHighBits) == 0) {
        i += sizeof word;
        continue;
      }
    }
    size_t start = i;
    UChar32 character;
    U8_NEXT(text.data(), i, text.size(), character);
    if (character < 0) return start;
  }
  return std::nullopt;
}

void check_plain_text(std::string_view text, const RecordPlace& place) {
  size_t nul = text.find('\0');
  COEUS_CHECK_DATA(nul == std::string_view::npos, "[data] {}: a NUL byte; is this a text file?",
                   line_of(place, nul));
  if (auto bad = find_invalid_utf8(text)) {
    throw DataError(fmt::format(
        "[data] {}: byte 0x{:02X} is not valid UTF-8; convert the file to UTF-8 (iconv -t UTF-8)",
        line_of(place, *bad), static_cast<unsigned char>(text[*bad])));
  }
}

json parse_json_line(std::string_view line, const RecordPlace& place, const char* expected) {
  json object;
  try {
    object = json::parse(line);
  } catch (const json::parse_error& error) {
    check_plain_text(line, place);
    throw DataError(fmt::format("[data] {}: not valid JSON at column {}; {}", line_of(place),
                                error.byte, expected));
  }
  COEUS_CHECK_DATA(object.is_object(), "[data] {}: found {} {}; {}", line_of(place),
                   object.is_array() ? "an" : "a", object.type_name(), expected);
  return object;
}

std::string text_of_json_line(std::string_view line, const RecordPlace& place) {
  json object = parse_json_line(line, place, kExpected);
  auto text = object.find("text");
  if (text == object.end()) {
    std::string keys;
    for (const auto& item : object.items()) {
      keys += (keys.empty() ? "" : ", ") + json(item.key()).dump();
    }
    throw DataError(fmt::format("[data] {}: no key \"text\" among {}; {}", line_of(place),
                                keys.empty() ? "no keys at all" : keys, kExpected));
  }
  COEUS_CHECK_DATA(text->is_string(), "[data] {}: \"text\" is of type {}, not a string; {}",
                   line_of(place), text->type_name(), kExpected);
  auto& result = text->get_ref<std::string&>();
  COEUS_CHECK_DATA(result.find('\0') == std::string::npos,
                   "[data] {}: \"text\" holds a NUL character (\\u0000); take it out",
                   line_of(place));
  return std::move(result);
}

}  // namespace coeus
