#include "coeus/train/score_input.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "coeus/base/error.h"

namespace coeus {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

/// Of a vocabulary of 10 tokens; a text's tokens are its letters' places in the alphabet.
std::vector<ScoreLine> read(const std::string& text) {
  std::istringstream in(text);
  return read_score_lines(in, "rows.jsonl", 10, [](const std::string& text) {
    std::vector<int32_t> tokens;
    for (const char letter : text) tokens.push_back(letter - 'a');
    return tokens;
  });
}

std::string complaint(const std::string& text) {
  try {
    read(text);
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

TEST(ScoreInput, TakesTokensTextAndDocuments) {
  const auto lines = read(
      "{\"tokens\": [3, 0, 9]}\n\n{\"text\": \"cab\", \"url\": \"x\"}\r\n"
      "{\"tokens\": [1, 2, 3], \"documents\": [1, 2]}\n{\"tokens\": []}");
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_THAT(lines[0].tokens, ElementsAre(3, 0, 9));
  EXPECT_THAT(lines[0].documents, ElementsAre(3));
  EXPECT_FALSE(lines[0].is_text);
  EXPECT_THAT(lines[1].tokens, ElementsAre(2, 0, 1));
  EXPECT_TRUE(lines[1].is_text);
  EXPECT_EQ(lines[1].number, 3);
  EXPECT_THAT(lines[2].documents, ElementsAre(1, 2));
  EXPECT_TRUE(lines[3].tokens.empty());
  EXPECT_TRUE(lines[3].documents.empty());
}

TEST(ScoreInput, NamesFileAndLineOfWhatItCannotTake) {
  const auto second = [](const std::string& line) {
    return complaint("{\"tokens\": [1]}\n" + line + "\n");
  };
  EXPECT_THAT(second("{\"tokens\": [1}"), AllOf(HasSubstr("rows.jsonl:2"), HasSubstr("not JSON")));
  EXPECT_THAT(second("\"\xff\""), AllOf(HasSubstr("rows.jsonl:2"), HasSubstr("not JSON")));
  EXPECT_THAT(second("[1, 2]"), AllOf(HasSubstr("rows.jsonl:2"), HasSubstr("array")));
  EXPECT_THAT(second("{\"id\": 1}"), HasSubstr("neither \"tokens\" nor \"text\""));
  EXPECT_THAT(second("{\"tokens\": [1], \"text\": \"a\"}"), HasSubstr("both"));
  EXPECT_THAT(second("{\"tokens\": [1, 10]}"),
              AllOf(HasSubstr("token 1 is 10"), HasSubstr("to 9")));
  EXPECT_THAT(second("{\"tokens\": [-1]}"), HasSubstr("token 0 is -1"));
  EXPECT_THAT(second("{\"tokens\": [1.5]}"), HasSubstr("token 0 is 1.5"));
  EXPECT_THAT(second("{\"tokens\": [18446744073709551615]}"), HasSubstr("token 0"));
  EXPECT_THAT(second("{\"tokens\": 5}"), HasSubstr("list of ids"));
  EXPECT_THAT(second("{\"text\": 5}"), HasSubstr("must be a string"));
  EXPECT_THAT(second("{\"tokens\": [1, 2], \"documents\": [1]}"), HasSubstr("sum to 1"));
  EXPECT_THAT(second("{\"tokens\": [1, 2], \"documents\": [2, 0]}"), HasSubstr("document of 0"));
  EXPECT_THAT(second("{\"tokens\": [1, 2], \"documents\": [1, 9]}"), HasSubstr("document of 9"));
  EXPECT_THAT(second("{\"tokens\": [1, 2], \"documents\": 2}"), HasSubstr("list of lengths"));
  EXPECT_THAT(second("{\"tokens\": [1, 2], \"document\": [1, 1]}"),
              HasSubstr("is \"documents\" meant"));
  EXPECT_THAT(complaint("\n"), HasSubstr("rows.jsonl: has no line"));
}

}  // namespace
}  // namespace coeus
