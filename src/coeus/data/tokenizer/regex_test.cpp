#include "coeus/data/tokenizer/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace coeus {
namespace {

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
  std::vector<std::string> found;
  Regex(pattern).for_each_match(
      text, [&](size_t begin, size_t end) { found.emplace_back(text.substr(begin, end - begin)); });
  return found;
}

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Regex, SpaceIsUnicodesWhiteSpace) {
  EXPECT_THAT(matches(R"(\s)", "a\u180Eb\u200Bc"), IsEmpty());
  EXPECT_THAT(matches(R"(\s)", "a\u0085b\u3000c"), ElementsAre("\u0085", "\u3000"));
  EXPECT_THAT(matches(R"([^\S]|\S\S)", "\u180E\u180E"), ElementsAre("\u180E\u180E"));
}

TEST(Regex, WordCharactersDifferWithinASet) {
  EXPECT_THAT(matches(R"(\w+)", "a\u00B2-"), ElementsAre("a\u00B2"));
  EXPECT_THAT(matches(R"([\w]+)", "a\u00B2-"), ElementsAre("a"));
  EXPECT_THAT(matches(R"([^\w\s]+)", "a\u00B2-"), ElementsAre("\u00B2-"));
}

TEST(Regex, LettersAndDigitsOfUnicode16AreKnown) {
  EXPECT_THAT(matches(R"(\p{L}+)", "a\U000105C0\U000323AFb"),
              ElementsAre("a\U000105C0\U000323AFb"));
  EXPECT_THAT(matches(R"(\p{N})", "\U00011F50\U0001CCF0"), ElementsAre("\U00011F50", "\U0001CCF0"));
  EXPECT_THAT(matches(R"(\P{L})", "a\U000105C0."), ElementsAre("."));
}

TEST(Regex, CaseFoldsAsUnicodeDoes) {
  EXPECT_THAT(matches("(?i:'s|k)", "'S 's '\u017F \u212A"),
              ElementsAre("'S", "'s", "'\u017F", "\u212A"));
  EXPECT_THAT(matches("(?i:a)b", "aB Ab"), ElementsAre("Ab"));
}

TEST(Regex, QuantifiersMeanWhatOnigurumaMeans) {
  EXPECT_THAT(matches("a{2}?", "aaa"), ElementsAre("aa", ""));        // an optional aa
  EXPECT_THAT(matches("a{1,2}+b", "aaaaab"), ElementsAre("aaaaab"));  // repeated
  EXPECT_THAT(matches("a++ab|a+b", "aaab"), ElementsAre("aaab"));     // possessive
  EXPECT_THAT(matches("x{,2}y", "xxxy"), ElementsAre("xxy"));
  EXPECT_THAT(matches("a{x}", "a{x}"), ElementsAre("a{x}"));
  EXPECT_THAT(matches("^b$", "a\nb\nc"), ElementsAre("b"));
}

TEST(Regex, EmptyMatchBehindAMatchIsPassedOver) {
  EXPECT_THAT(matches("a*", "baac"), ElementsAre("", "aa", ""));
}

TEST(Regex, WhatItCannotSayIsRefusedByName) {
  const std::pair<const char*, const char*> refused[] = {
      {R"(\R)", "escape '\\R'"},        {"[a[bc]]", "set within a set"},
      {"[a&&b]", "intersection"},       {"(?i:strasse)", "case does not matter"},
      {"(?m:a)", "the group '(?m:'"},   {R"(\p{Emoji})", "property \\p{Emoji}"},
      {"a|*", "nothing to repeat"},     {"(a", "not closed"},
      {"a)", "without its '('"},        {"[a", "without its ']'"},
      {R"(\1)", "escape '\\1'"},        {"a\\", "backslash at the end"},
      {R"(\x{110000})", "U+10FFFF"},    {R"(\xff)", "\\x80 to \\xFF"},
      {"(?<!a+)b", "does not compile"}, {"(?i:é)", "case does not matter"},
  };
  for (const auto& [pattern, reason] : refused) {
    try {
      Regex regex(pattern);
      ADD_FAILURE() << pattern << " was accepted";
    } catch (const std::invalid_argument& error) {
      EXPECT_THAT(error.what(), HasSubstr(reason)) << pattern;
      EXPECT_THAT(error.what(), HasSubstr(pattern));
    }
  }
}

TEST(Regex, LongRunsOfSpacesAreLinear) {
  const std::string text = std::string(1 << 20, ' ') + "a";
  EXPECT_EQ(matches(R"(\s*[\r\n]+|\s+(?!\S)|\s+)", text).size(), 2u);
}

}  // namespace
}  // namespace coeus
