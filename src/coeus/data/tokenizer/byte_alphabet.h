// GPT-2's printable stand-ins for the 256 bytes: a byte-level vocabulary is written in them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace coeus {

/// The character that stands for `byte`: itself when printable, else one from U+0100 on.
char32_t byte_to_character(unsigned char byte);

/// The byte that `character` stands for, if any.
std::optional<unsigned char> character_to_byte(char32_t character);

/// Each byte of `bytes` as its character, in UTF-8.
std::string bytes_to_alphabet(std::string_view bytes);

/// The bytes that `text` (valid UTF-8) stands for, unless one of its characters stands for none.
std::optional<std::string> alphabet_to_bytes(std::string_view text);

}  // namespace coeus
