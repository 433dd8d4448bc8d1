#include "coeus/data/tokenizer/byte_alphabet.h"

#include <array>

#include "coeus/data/tokenizer/utf8.h"

namespace coeus {
namespace {

struct Alphabet {
  std::array<char32_t, 256> characters{};
  std::array<int, 0x144> bytes{};  // -1: stands for none
  Alphabet() {
    bytes.fill(-1);
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
      const char32_t c = printable ? byte : next++;
      characters[byte] = c;
      bytes[c] = static_cast<int>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

char32_t byte_to_character(unsigned char byte) { return alphabet().characters[byte]; }

std::optional<unsigned char> character_to_byte(char32_t c) {
  const auto& bytes = alphabet().bytes;
  if (c >= bytes.size() || bytes[c] < 0) return std::nullopt;
  return static_cast<unsigned char>(bytes[c]);
}

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes)
    append_utf8(out, byte_to_character(static_cast<unsigned char>(byte)));
  return out;
}

std::optional<std::string> alphabet_to_bytes(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto byte = character_to_byte(next_code_point(text, i));
    if (!byte) return std::nullopt;
    out.push_back(static_cast<char>(*byte));
  }
  return out;
}

}  // namespace coeus
