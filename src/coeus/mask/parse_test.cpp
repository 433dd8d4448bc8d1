#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "coeus/base/error.h"
#include "coeus/mask/mask.h"
#include "coeus/mask/random_case.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(MaskParsing, BindsNotTightestThenAndThenOr) {
  using namespace mask;
  EXPECT_EQ(parse_mask("causal & document & chunk(256)"), causal() & document() & chunk(256));
  EXPECT_EQ(parse_mask("causal & document | sink(4)"), (causal() & document()) | sink(4));
  EXPECT_EQ(parse_mask("causal | document & sink(4)"), causal() | (document() & sink(4)));
  EXPECT_EQ(parse_mask("~causal & document"), ~causal() & document());
  EXPECT_EQ(parse_mask("~(causal & document)"), ~(causal() & document()));
  EXPECT_EQ(parse_mask("~~causal"), ~~causal());
}

TEST(MaskParsing, TakesAnySpacingAndNamedNumbers) {
  using namespace mask;
  EXPECT_EQ(parse_mask("\t causal&document \n"), causal() & document());
  EXPECT_EQ(parse_mask("sliding_window ( 8 , 2 )"), sliding_window(8, 2));
  EXPECT_EQ(parse_mask("sliding_window(8)"), sliding_window(8));
  EXPECT_EQ(parse_mask("sliding_window(left=8, right=2)"), sliding_window(8, 2));
  EXPECT_EQ(parse_mask("prefix(n = 0)"), prefix(0));
}

TEST(MaskParsing, ReadsBackWhatMasksPrint) {
  testing::Random random(3);
  for (int i = 0; i < 1000; ++i) {
    const Mask mask = testing::random_mask(random, 50, 5);
    const std::string text = mask.to_string();
    if (text.find("dense") != std::string::npos || text.find("predicate") != std::string::npos) {
      continue;
    }
    ASSERT_EQ(parse_mask(text), mask) << text;
  }
}

struct BadText {
  std::string text;
  int column;
  const char* complaint;
};

class MaskParsingErrors : public ::testing::TestWithParam<BadText> {};

TEST_P(MaskParsingErrors, NameTheColumnAndWhatWasExpected) {
  EXPECT_THAT(
      [] { parse_mask(GetParam().text); },
      ThrowsMessage<ConfigError>(AllOf(HasSubstr(fmt::format("column {}:", GetParam().column)),
                                       HasSubstr(GetParam().complaint))));
}

INSTANTIATE_TEST_SUITE_P(
    Places, MaskParsingErrors,
    ::testing::Values(
        BadText{"", 1, "expected a mask (full, causal"}, BadText{"causal &", 9, "found the end"},
        BadText{"causal document", 8, "expected '&', '|' or the end, found 'document'"},
        BadText{"(causal", 8, "expected '&', '|' or ')'"}, BadText{"causal)", 7, "found ')'"},
        BadText{"causal && document", 9, "found '&'"},
        BadText{"causl & document", 1, "did you mean 'causal'?"},
        BadText{"causal & wat", 10, "found 'wat'"},
        BadText{"chunk", 6, "expected '(n)' after chunk"},
        BadText{"chunk(0)", 7, "a whole number from 1 to 2147483647, found '0'"},
        BadText{"chunk(-3)", 7, "found '-'"}, BadText{"chunk(2.5)", 8, "expected ',' or ')'"},
        BadText{"chunk(12a)", 7, "found '12a'"}, BadText{"chunk(99999999999999999999)", 7, "found"},
        BadText{"chunk(4, 5)", 10, "takes no more numbers"}, BadText{"causal()", 7, "found '('"},
        BadText{"dense(3 x 3)", 1, "no form in text"},
        BadText{"causal & predicate(p)", 10, "no form in text"},
        BadText{std::string(300, '~') + "causal", 201, "levels"},
        BadText{std::string(300, '(') + "causal", 201, "levels"}));

TEST(MaskParsing, NeverDoesWorseThanThrowConfigErrorOnBrokenText) {
  const std::string alphabet = "~&|()=, 019\nxcausaldocumentchunk";
  testing::Random random(4);
  int parsed = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text = testing::random_mask(random, 50, 3).to_string();
    for (int64_t edits = testing::draw(random, 0, 3); edits > 0 && !text.empty(); --edits) {
      const auto place =
          static_cast<size_t>(testing::draw(random, 0, static_cast<int64_t>(text.size()) - 1));
      text[place] = alphabet[testing::draw(random, 0, static_cast<int64_t>(alphabet.size()) - 1)];
    }
    try {
      const Mask mask = parse_mask(text);
      ASSERT_EQ(parse_mask(mask.to_string()), mask) << text;
      ++parsed;
    } catch (const ConfigError&) {
    }
  }
  EXPECT_GT(parsed, 1000);
}

}  // namespace
}  // namespace coeus
