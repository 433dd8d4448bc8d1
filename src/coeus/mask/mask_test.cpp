#include "coeus/mask/mask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <unordered_set>
#include <vector>

#include "coeus/base/error.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

Token at(int32_t index, int32_t document = 0, int32_t offset = 0) {
  return {index, document, offset};
}

/// Which of keys 0 to 7 (one document) query `index` sees, as text: "11100000".
std::string row_of(const Mask& mask, int32_t index) {
  std::string row;
  for (int32_t k = 0; k < 8; ++k) row += mask.sees(at(index, 0, index), at(k, 0, k)) ? '1' : '0';
  return row;
}

TEST(MaskLeaves, SeeWhatTheirDefinitionSays) {
  EXPECT_EQ(row_of(mask::full(), 3), "11111111");
  EXPECT_EQ(row_of(mask::causal(), 0), "10000000");
  EXPECT_EQ(row_of(mask::causal(), 3), "11110000");
  EXPECT_EQ(row_of(mask::sliding_window(1), 4), "00001000");
  EXPECT_EQ(row_of(mask::sliding_window(3), 4), "00111000");
  EXPECT_EQ(row_of(mask::sliding_window(3, 2), 4), "00111110");
  EXPECT_EQ(row_of(mask::chunk(3), 4), "00011100");
  EXPECT_EQ(row_of(mask::chunk(3), 6), "00000011");
  EXPECT_EQ(row_of(mask::prefix(2), 5), "11000000");
  EXPECT_EQ(row_of(mask::prefix(0), 5), "00000000");
  EXPECT_EQ(row_of(mask::sink(3), 0), "11100000");
  EXPECT_EQ(row_of(mask::dilated(3), 4), "01001001");
}

TEST(MaskLeaves, DocumentAndSinkGoByDocumentAndNotByIndex) {
  EXPECT_TRUE(mask::document().sees(at(0, 2), at(9, 2)));
  EXPECT_FALSE(mask::document().sees(at(1, 2), at(2, 3)));
  EXPECT_TRUE(mask::sink(2).sees(at(9, 4, 5), at(5, 4, 1)));
  EXPECT_FALSE(mask::sink(2).sees(at(9, 4, 5), at(6, 4, 2)));
  EXPECT_FALSE(mask::sink(2).sees(at(9, 4, 5), at(0, 3, 0)));
}

TEST(MaskLeaves, WindowsAtTheLargestNumbersDoNotOverflow) {
  constexpr int32_t kLargest = 2147483647;
  const Mask wide = mask::sliding_window(kLargest, kLargest);
  EXPECT_TRUE(wide.sees(at(0), at(kLargest)));
  EXPECT_FALSE(wide.sees(at(kLargest), at(0)));
}

TEST(MaskLeaves, DenseLooksUpTheBitOfBothIndices) {
  const Mask bits = mask::dense(2, 3, {1, 0, 1, 0, 7, 0});
  EXPECT_TRUE(bits.sees(at(0), at(2)));
  EXPECT_TRUE(bits.sees(at(1), at(1)));
  EXPECT_FALSE(bits.sees(at(1), at(2)));
  EXPECT_THAT([&] { bits.sees(at(2), at(0)); },
              ThrowsMessage<Error>(AllOf(HasSubstr("[dense]"), HasSubstr("2 x 3"))));
}

TEST(MaskLeaves, PredicateSeesAttributesThatAModelAdds) {
  TokenAttributes tokens{{0, 1}, {0, 0}, {0, 1}, {{"modality", {5, 6}}}};
  const Mask same = mask::predicate("same modality", [](const Token& q, const Token& k) {
    return q.attribute("modality") == k.attribute("modality");
  });
  EXPECT_TRUE(same.sees(tokens.token(1), tokens.token(1)));
  EXPECT_FALSE(same.sees(tokens.token(0), tokens.token(1)));
  const Mask typo = mask::predicate(
      "typo", [](const Token& q, const Token&) { return q.attribute("modalty") == 0; });
  EXPECT_THAT([&] { typo.sees(tokens.token(0), tokens.token(1)); },
              ThrowsMessage<Error>(AllOf(HasSubstr("modalty"), HasSubstr("[modality]"))));
}

TEST(MaskLeaves, APredicateThatThrowsIsNamedWithTheTokensItGot) {
  const Mask bad = mask::predicate(
      "picky", [](const Token&, const Token&) -> bool { throw std::runtime_error("no idea"); });
  EXPECT_THAT([&] { bad.sees(at(3, 1, 2), at(9)); },
              ThrowsMessage<Error>(AllOf(HasSubstr("[predicate 'picky']"), HasSubstr("no idea"),
                                         HasSubstr("index 3, document 1, offset 2"),
                                         HasSubstr("index 9"))));
}

TEST(MaskLeaves, RefuseNumbersOutOfRangeByName) {
  EXPECT_THAT([] { mask::chunk(0); },
              ThrowsMessage<Error>(AllOf(HasSubstr("[chunk]"), HasSubstr("got 0"))));
  EXPECT_THAT([] { mask::dilated(-2); }, ThrowsMessage<Error>(HasSubstr("got -2")));
  EXPECT_THAT([] { mask::prefix(-1); }, ThrowsMessage<Error>(HasSubstr("[prefix]")));
  EXPECT_THAT([] { mask::sink(int64_t{1} << 31); }, ThrowsMessage<Error>(HasSubstr("[sink]")));
  EXPECT_THAT([] { mask::sliding_window(0); }, ThrowsMessage<Error>(HasSubstr("left")));
  EXPECT_THAT([] { mask::sliding_window(4, -1); }, ThrowsMessage<Error>(HasSubstr("right")));
  EXPECT_THAT(
      [] {
        mask::dense(2, 2, {1, 0, 1});
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("[dense]"), HasSubstr("needs 4"))));
  EXPECT_THAT([] { mask::predicate("none", nullptr); },
              ThrowsMessage<Error>(HasSubstr("[predicate 'none']")));
}

TEST(Masks, OperatorsCombineWhatTheirOperandsSee) {
  EXPECT_EQ(row_of(mask::causal() & mask::chunk(3), 4), "00011000");
  EXPECT_EQ(row_of(mask::prefix(2) | mask::sliding_window(1), 4), "11001000");
  EXPECT_EQ(row_of(~mask::causal(), 4), "00000111");
  EXPECT_EQ(row_of(~(mask::prefix(2) | mask::sliding_window(1)), 4), "00110111");
}

TEST(Masks, PrintWithAsFewParenthesesAsTheyNeed) {
  const Mask a = mask::causal();
  const Mask b = mask::document();
  const Mask c = mask::chunk(256);
  EXPECT_EQ((a & b & c).to_string(), "causal & document & chunk(256)");
  EXPECT_EQ((a & (b | c)).to_string(), "causal & (document | chunk(256))");
  EXPECT_EQ(((a & b) | c).to_string(), "causal & document | chunk(256)");
  EXPECT_EQ((~(a & b) | ~c).to_string(), "~(causal & document) | ~chunk(256)");
  EXPECT_EQ((~~a).to_string(), "~~causal");
  EXPECT_EQ(mask::sliding_window(4, 2).to_string(), "sliding_window(4, 2)");
  EXPECT_EQ(mask::dense(1, 2, {0, 1}).to_string(), "dense(1 x 2)");
  EXPECT_EQ(mask::predicate("p", [](const Token&, const Token&) { return true; }).to_string(),
            "predicate(p)");
}

TEST(Masks, AreEqualAndHashAlikeWhenWrittenAlike) {
  const auto make = [] { return mask::causal() & (mask::document() | ~mask::sink(4)); };
  EXPECT_EQ(make(), make());
  EXPECT_EQ(make().hash(), make().hash());
  EXPECT_NE(mask::chunk(4), mask::chunk(5));
  EXPECT_NE(mask::chunk(4), mask::prefix(4));
  EXPECT_NE(mask::causal() & mask::document(), mask::document() & mask::causal());
  EXPECT_EQ((mask::causal() & mask::document()).simplified(),
            (mask::document() & mask::causal()).simplified());
  EXPECT_EQ((mask::causal() & mask::document()) & mask::chunk(2),
            mask::causal() & (mask::document() & mask::chunk(2)));
  EXPECT_NE(mask::dense(2, 2, {1, 0, 0, 1}), mask::dense(2, 2, {1, 0, 1, 1}));
  EXPECT_EQ(mask::dense(2, 2, {1, 0, 0, 1}), mask::dense(2, 2, {3, 0, 0, 9}));
  const std::unordered_set<Mask> set{make(), make(), mask::causal()};
  EXPECT_EQ(set.size(), 2u);
}

TEST(Masks, PredicatesAreEqualOnlyToTheirCopies) {
  const auto always = [](const Token&, const Token&) { return true; };
  const Mask a = mask::predicate("p", always);
  const Mask copy = a;
  EXPECT_EQ(a, copy);
  EXPECT_NE(a, mask::predicate("p", always));
}

TEST(Masks, RefuseToNestTooDeep) {
  Mask mask = mask::causal();
  EXPECT_THAT(
      [&] {
        for (int i = 0; i < 10000; ++i) mask = ~mask;
      },
      ThrowsMessage<Error>(HasSubstr("levels deep")));
}

struct Simplification {
  const char* written;
  const char* simple;
};

class MaskSimplification : public ::testing::TestWithParam<Simplification> {};

TEST_P(MaskSimplification, GivesTheCanonicalForm) {
  EXPECT_EQ(parse_mask(GetParam().written).simplified().to_string(), GetParam().simple);
}

INSTANTIATE_TEST_SUITE_P(
    Rules, MaskSimplification,
    ::testing::Values(
        Simplification{"~~causal", "causal"}, Simplification{"~full", "~full"},
        Simplification{"~~full", "full"}, Simplification{"full & causal", "causal"},
        Simplification{"full | causal", "full"}, Simplification{"~full & causal", "~full"},
        Simplification{"~full | causal", "causal"}, Simplification{"causal & causal", "causal"},
        Simplification{"document & causal", "causal & document"},
        Simplification{"causal & ~causal", "~full"}, Simplification{"causal | ~causal", "full"},
        Simplification{"causal & (causal | document)", "causal"},
        Simplification{"causal | causal & document", "causal"},
        Simplification{"~(causal & ~document)", "document | ~causal"},
        Simplification{"~(causal | document)", "~causal & ~document"},
        Simplification{"sliding_window(8) & causal", "sliding_window(8)"},
        Simplification{"sliding_window(8, 3) & causal", "sliding_window(8)"},
        Simplification{"sliding_window(8, 3) & sliding_window(6, 5)", "sliding_window(6, 3)"},
        Simplification{"sliding_window(8) | sliding_window(4)", "sliding_window(8)"},
        Simplification{"sliding_window(8) & ~causal", "~full"},
        Simplification{"chunk(4) & chunk(8)", "chunk(4)"},
        Simplification{"chunk(4) | chunk(8)", "chunk(8)"},
        Simplification{"chunk(4) & chunk(6)", "chunk(4) & chunk(6)"},
        Simplification{"chunk(4) & sliding_window(4, 3)", "chunk(4)"},
        Simplification{"prefix(4) | prefix(2)", "prefix(4)"},
        Simplification{"prefix(0) | causal", "causal"}, Simplification{"sink(0)", "~full"},
        Simplification{"document & sink(3)", "sink(3)"},
        Simplification{"sink(3) & ~document", "~full"},
        Simplification{"dilated(1) & causal", "causal"},
        Simplification{"dilated(4) | dilated(2)", "dilated(2)"}));

}  // namespace
}  // namespace coeus
