#include "coeus/mask/sequence_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/select.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

TEST(SequenceLayout, CountsPackedDocumentsFromTheRowAndFromTheDocument) {
  const auto layout = SequenceLayout::from_document_lengths(std::vector<int64_t>{2, 0, 3});
  EXPECT_EQ(layout.query(), layout.key());
  EXPECT_THAT(layout.query()->index, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(layout.query()->document, ElementsAre(0, 0, 2, 2, 2));
  EXPECT_THAT(layout.query()->offset, ElementsAre(0, 1, 0, 1, 2));
}

TEST(SequenceLayout, RefusesAttributesThatDisagreeInSize) {
  EXPECT_THAT(
      [] {
        SequenceLayout::self({{0, 1}, {0, 0}, {0}});
      },
      ThrowsMessage<Error>(
          AllOf(HasSubstr("disagree in size"), HasSubstr("index 2, document 2, offset 1"))));
  EXPECT_THAT(
      [] {
        SequenceLayout({{0}, {0}, {0}}, {{0}, {0, 1}, {0}});
      },
      ThrowsMessage<Error>(HasSubstr("key")));
  EXPECT_THAT(
      [] {
        SequenceLayout::self({{0}, {0}, {0}, {{"modality", {1, 2}}}});
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("modality"), HasSubstr("2 entries for 1"))));
}

TEST(SequenceLayout, RefusesNegativePlacesAndLengths) {
  EXPECT_THAT(
      [] {
        SequenceLayout::self({{0, -4}, {0, 0}, {0, 0}});
      },
      ThrowsMessage<Error>(HasSubstr("query token 1 has index -4")));
  EXPECT_THAT(
      [] {
        SequenceLayout::self({{0}, {0}, {-1}});
      },
      ThrowsMessage<Error>(HasSubstr("offset -1")));
  EXPECT_THAT(
      [] {
        SequenceLayout::from_document_lengths(std::vector<int64_t>{3, -1});
      },
      ThrowsMessage<Error>(HasSubstr("-1 tokens")));
  EXPECT_THAT([] { SequenceLayout::from_document_lengths(std::vector<int64_t>(2, 1ll << 62)); },
              ThrowsMessage<Error>(HasSubstr("more than")));
  EXPECT_THAT([] { SequenceLayout(nullptr, nullptr); }, ThrowsMessage<Error>(HasSubstr("null")));
}

TEST(Selecting, TakesAllAttributesAlong) {
  const TokenAttributes tokens{{0, 1, 2}, {0, 0, 1}, {0, 1, 0}, {{"modality", {7, 8, 9}}}};
  const TokenAttributes chosen = select(tokens, std::vector<int64_t>{2, 0, 2});
  EXPECT_THAT(chosen.index, ElementsAre(2, 0, 2));
  EXPECT_THAT(chosen.document, ElementsAre(1, 0, 1));
  EXPECT_THAT(chosen.offset, ElementsAre(0, 0, 0));
  EXPECT_THAT(chosen.extra.at("modality"), ElementsAre(9, 7, 9));
  EXPECT_THAT(select(tokens, 1, 3).extra.at("modality"), ElementsAre(8, 9));
  EXPECT_THAT(select(tokens, 3, 3).index, IsEmpty());
}

TEST(Selecting, LeavesTheOtherSideShared) {
  const auto layout = SequenceLayout::from_document_lengths(std::vector<int64_t>{4});
  const auto queries = select_queries(layout, std::vector<int64_t>{3, 1});
  EXPECT_EQ(queries.key(), layout.key());
  EXPECT_THAT(queries.query()->index, ElementsAre(3, 1));
  const auto keys = select_keys(layout, 1, 3);
  EXPECT_EQ(keys.query(), layout.query());
  EXPECT_THAT(keys.key()->index, ElementsAre(1, 2));
}

TEST(Selecting, RefusesPlacesThatDoNotExist) {
  const auto layout = SequenceLayout::from_document_lengths(std::vector<int64_t>{4});
  EXPECT_THAT(
      [&] {
        select_queries(layout, std::vector<int64_t>{0, 4});
      },
      ThrowsMessage<Error>(HasSubstr("place 4")));
  EXPECT_THAT([&] { select_keys(layout, 2, 5); }, ThrowsMessage<Error>(HasSubstr("[2, 5)")));
}

}  // namespace
}  // namespace coeus
