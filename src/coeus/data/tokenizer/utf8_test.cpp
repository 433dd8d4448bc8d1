#include "coeus/data/tokenizer/utf8.h"

#include <gtest/gtest.h>

#include "coeus/data/tokenizer/golden_files_test.h"

namespace coeus {
namespace {

std::string from_hexadecimal(const std::string& digits) {
  std::string bytes;
  for (size_t i = 0; i < digits.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

TEST(Utf8, ReplacesInvalidBytesAsPythonDoes) {
  for (const auto& row : read_golden("invalid_utf8.json")) {
    const std::string bytes = from_hexadecimal(row[0]);
    EXPECT_FALSE(is_valid_utf8(bytes)) << row[0];
    EXPECT_EQ(replace_invalid_utf8(bytes), row[1].get<std::string>()) << row[0];
  }
}

TEST(Utf8, EveryCharacterIsValidAndReadsBack) {
  std::string all;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c == 0xD800) c = 0xE000;
    append_utf8(all, c);
  }
  ASSERT_TRUE(is_valid_utf8(all));
  EXPECT_EQ(replace_invalid_utf8(all), all);
  size_t at = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c == 0xD800) c = 0xE000;
    const size_t start = at;
    ASSERT_EQ(next_code_point(all, at), c);
    ASSERT_EQ(previous_boundary(all, at), start);
  }
}

TEST(Utf8, InvalidByteIsFoundAtAnyPlaceInAWord) {
  for (size_t i = 0; i < 20; ++i) {
    std::string text(20, 'a');
    text[i] = '\xFF';
    EXPECT_FALSE(is_valid_utf8(text)) << i;
  }
}

}  // namespace
}  // namespace coeus
