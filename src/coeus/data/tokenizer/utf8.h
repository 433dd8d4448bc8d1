// UTF-8 as the tokenizer needs it: checked once at the door, trusted afterwards.
#pragma once

#include <string>
#include <string_view>

namespace coeus {

/// True when `text` is well-formed UTF-8 (no overlong forms, no surrogates, nothing past U+10FFFF).
bool is_valid_utf8(std::string_view text);

/// `text` with each maximal invalid subpart replaced by U+FFFD, which is what WHATWG's decoder,
/// Rust's `from_utf8_lossy` and Python's `errors="replace"` do.
std::string replace_invalid_utf8(std::string_view text);

/// The code point that starts at `text[position]`; moves `position` past it. The text must be
/// valid.
inline char32_t next_code_point(std::string_view text, size_t& position) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const unsigned char lead = byte(0);
  char32_t code_point = lead;
  size_t length = 1;
  if (lead >= 0xF0) {
    code_point =
        (lead & 0x07u) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu);
    length = 4;
  } else if (lead >= 0xE0) {
    code_point = (lead & 0x0Fu) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu);
    length = 3;
  } else if (lead >= 0xC0) {
    code_point = (lead & 0x1Fu) << 6 | (byte(1) & 0x3Fu);
    length = 2;
  }
  position += length;
  return code_point;
}

/// Where the character before `position` starts. The text must be valid and `position` above 0.
inline size_t previous_boundary(std::string_view text, size_t position) {
  do {
    --position;
  } while (position > 0 && (static_cast<unsigned char>(text[position]) & 0xC0u) == 0x80u);
  return position;
}

void append_utf8(std::string& out, char32_t code_point);

}  // namespace coeus
