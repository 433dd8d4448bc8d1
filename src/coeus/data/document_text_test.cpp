#include "coeus/data/document_text.h"

#include <gmock/gmock.h>

#include "coeus/base/error.h"
#include "coeus/data/test_folder.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// Parses `line` as the third line of a file.
std::string text_of(const std::string& line) {
  TestFolder folder;
  std::string before = "{\"text\": \"first\"}\n\n";
  DataFile file{.path = folder.write("data.json", before + line + "\n")};
  return text_of_json_line(line, {&file, before.size()});
}

std::string error_of(const std::string& line) {
  auto message = message_of<DataError>([&] { text_of(line); });
  EXPECT_THAT(message, HasSubstr("data.json:3: "));
  return message;
}

TEST(JsonLine, GivesTheText) {
  EXPECT_EQ(text_of(R"({"id": 7, "text": "a\n\"b\" \u00e9 \ud83d\ude00", "meta": {"text": 1}})"),
            "a\n\"b\" é 😀");
  EXPECT_EQ(text_of("{\"text\": \"\"}\r"), "");
}

TEST(JsonLine, ReportsBadJsonWithItsColumn) {
  EXPECT_THAT(error_of("{\"text\": \"a\"}x"),
              AllOf(HasSubstr("column 14"), HasSubstr("expected one JSON object a line")));
  EXPECT_THAT(error_of("{\"text\": \"a"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of("{\"text\": \"\\ud800\"}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of("["), HasSubstr("not valid JSON"));
}

TEST(JsonLine, ReportsWhatIsNoObject) {
  EXPECT_THAT(error_of("[1]"), HasSubstr("found an array"));
  EXPECT_THAT(error_of("\"text\""), HasSubstr("found a string"));
}

TEST(JsonLine, ReportsAMissingTextByTheKeysThereAre) {
  EXPECT_THAT(error_of(R"({"content": "a", "id": 1})"),
              AllOf(HasSubstr("no key \"text\""), HasSubstr("\"content\", \"id\"")));
  EXPECT_THAT(error_of("{}"), HasSubstr("no keys at all"));
}

TEST(JsonLine, ReportsATextOfAnotherType) {
  EXPECT_THAT(error_of(R"({"text": 7})"), HasSubstr("of type number, not a string"));
  EXPECT_THAT(error_of(R"({"text": null})"), HasSubstr("of type null"));
}

TEST(JsonLine, ReportsInvalidUtf8AndNul) {
  EXPECT_THAT(error_of("{\"text\": \"a\xFF\"}"), HasSubstr("byte 0xFF is not valid UTF-8"));
  EXPECT_THAT(error_of(std::string("{\"text\": \"\0\"}", 13)), HasSubstr("a NUL byte"));
  EXPECT_THAT(error_of("{\"text\": \"\\u0000\"}"), HasSubstr("NUL character"));
}

TEST(PlainText, NamesTheLineOfABadByte) {
  TestFolder folder;
  std::string text =
      "good\nlines\nb\xC3\xA4"
      "d \xE4 here";
  DataFile file{.path = folder.write("a.txt", text)};
  EXPECT_THAT(message_of<DataError>([&] {
                check_plain_text(text, {&file, 0});
              }),
              AllOf(HasSubstr("a.txt:3: "), HasSubstr("0xE4"), HasSubstr("iconv")));
  text[6] = '\0';
  EXPECT_THAT(message_of<DataError>([&] {
                check_plain_text(text, {&file, 0});
              }),
              AllOf(HasSubstr("a.txt:2: "), HasSubstr("NUL")));
}

TEST(Utf8, FindsTheFirstIllFormedByte) {
  EXPECT_EQ(find_invalid_utf8(""), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("plain ASCII of some length, é, €, 😀, \xF4\x8F\xBF\xBF"),
            std::nullopt);
  struct Case {
    std::string bytes;
    const char* what;
  };
  for (const auto& [bytes, what] : {Case{"\x80", "lone continuation"},
                                    {"\xC3", "cut short"},
                                    {"\xE2\x82", "cut short"},
                                    {"\xC0\xAF", "longer than needed"},
                                    {"\xE0\x80\xAF", "longer than needed"},
                                    {"\xED\xA0\x80", "surrogate"},
                                    {"\xF4\x90\x80\x80", "beyond U+10FFFF"},
                                    {"\xFE", "never a byte of UTF-8"}}) {
    for (size_t before : {0, 3, 8, 13}) {
      std::string text = std::string(before, 'a') + bytes;
      EXPECT_EQ(find_invalid_utf8(text), before) << what;
      EXPECT_EQ(find_invalid_utf8(text + "zzzzzzzzz"), before) << what;
    }
  }
}

}  // namespace
}  // namespace coeus
