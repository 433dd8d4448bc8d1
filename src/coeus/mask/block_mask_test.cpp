#include "coeus/mask/block_mask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <stdexcept>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"
#include "coeus/mask/select.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::ThrowsMessage;

SequenceLayout documents(const std::vector<int64_t>& lengths) {
  return SequenceLayout::from_document_lengths(lengths);
}

BlockMask lower_one(const char* mask, const SequenceLayout& layout, int64_t tile = 4) {
  return lower(parse_mask(mask), std::vector{layout}, {tile, tile});
}

TEST(BlockMask, OfACausalRowHasOneRangeOfFullTilesAQueryTile) {
  const BlockMask mask = lower_one("causal", documents({14}));
  const BlockMaskRow& row = mask.row(0);
  EXPECT_THAT(row.by_query.full_offsets, ElementsAre(0, 0, 1, 2, 3));
  EXPECT_THAT(row.by_query.full_ranges, ElementsAre(0, 1, 0, 2, 0, 3));
  EXPECT_THAT(row.by_query.partial_tiles, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(row.by_key.full_offsets, ElementsAre(0, 1, 2, 3, 3));
  EXPECT_THAT(row.by_key.full_ranges, ElementsAre(1, 4, 2, 4, 3, 4));
  EXPECT_EQ(row.interval_count, 1);
  EXPECT_THAT(row.bits, IsEmpty());
  EXPECT_EQ(mask.area(), 14 * 15 / 2);
  EXPECT_DOUBLE_EQ(mask.sparsity(), 1 - 105.0 / 196);
  const TileCounts counts = mask.tile_counts();
  EXPECT_EQ(counts.full, 6);
  EXPECT_EQ(counts.partial, 4);
  EXPECT_EQ(counts.empty, 6);
}

TEST(BlockMask, TakesMemoryByTouchedTilesAndNotByTheSquare) {
  const BlockMask small = lower_one("causal & document", documents({30000, 35536}), 128);
  const BlockMask large = lower_one("causal & document", documents({60000, 71072}), 128);
  EXPECT_LT(large.bytes(), 2.1 * small.bytes());
}

TEST(BlockMask, SharesRowsThatAgreeInWhatTheMaskLooksAt) {
  const std::vector rows{documents({5, 3}), documents({4, 4}), documents({5, 3})};
  const BlockMask causal = lower(mask::causal(), rows);
  EXPECT_EQ(causal.shared_row(0), causal.shared_row(1));
  EXPECT_EQ(causal.bytes(), causal.row(0).bytes());
  const BlockMask packed = lower(mask::causal() & mask::document(), rows);
  EXPECT_NE(packed.shared_row(0), packed.shared_row(1));
  EXPECT_EQ(packed.shared_row(0), packed.shared_row(2));
}

TEST(BlockMask, SlicesAndConcatenatesRows) {
  const std::vector rows{documents({6}), documents({2, 4}), documents({3, 3})};
  const BlockMask whole = lower(mask::causal() & mask::document(), rows, {4, 4});
  const std::vector parts{whole.slice_rows(0, 1), whole.slice_rows(1, 3), whole.slice_rows(0, 0)};
  EXPECT_EQ(parts[1].batch_size(), 2);
  EXPECT_EQ(parts[1].shared_row(0), whole.shared_row(1));
  const BlockMask joined = BlockMask::concatenate(parts);
  ASSERT_EQ(joined.batch_size(), 3);
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(joined.shared_row(i), whole.shared_row(i));
  EXPECT_EQ(joined.area(), whole.area(0) + whole.area(1) + whole.area(2));
}

TEST(BlockMask, RefusesRowsThatDifferInSizeAndRangesOutside) {
  const BlockMask six = lower_one("causal", documents({6}));
  const BlockMask seven = lower_one("causal", documents({7}));
  const BlockMask coarse = lower_one("causal", documents({6}), 8);
  EXPECT_THAT(
      [&] {
        BlockMask::concatenate(std::vector{six, seven});
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("7 x 7"), HasSubstr("6 x 6"))));
  EXPECT_THAT(
      [&] {
        BlockMask::concatenate(std::vector{six, coarse});
      },
      ThrowsMessage<Error>(HasSubstr("tiles of 8 x 8")));
  EXPECT_THAT([&] { six.slice_rows(0, 2); }, ThrowsMessage<Error>(HasSubstr("[0, 2)")));
  EXPECT_THAT([&] { six.slice_queries(3, 7); }, ThrowsMessage<Error>(HasSubstr("[3, 7)")));
  EXPECT_THAT([&] { six.row(1); }, ThrowsMessage<Error>(HasSubstr("row 1")));
  EXPECT_THAT([&] { six.sees(0, 6, 0); }, ThrowsMessage<Error>(HasSubstr("query 6")));
}

TEST(BlockMask, ChoosesBitsWhereIntervalsDoNotReach) {
  const BlockMask dilated = lower_one("causal & dilated(2)", documents({9}));
  EXPECT_EQ(dilated.row(0).interval_count, 0);
  EXPECT_FALSE(dilated.row(0).bits.empty());
  const BlockMask sinks =
      lower_one("causal & document & (sink(1) | sliding_window(2))", documents({9}));
  EXPECT_EQ(sinks.row(0).interval_count, 2);
  EXPECT_THAT(sinks.row(0).bits, IsEmpty());
}

TEST(BlockMask, GivesRanksOfKeysOnlyWhenTheyAreStoredOutOfOrder) {
  const auto layout = documents({6});
  EXPECT_THAT(
      lower_one("causal", select_keys(layout, std::vector<int64_t>{0, 3, 5})).row(0).key_ranks,
      IsEmpty());
  EXPECT_THAT(
      lower_one("causal", select_keys(layout, std::vector<int64_t>{5, 0, 3})).row(0).key_ranks,
      ElementsAre(2, 0, 1));
}

TEST(Segments, OfPackedDocumentsAreOneCausalCallADocument) {
  EXPECT_THAT(lower_one("causal & document", documents({5, 1, 3})).segments(0),
              Optional(ElementsAre(Segment{0, 5, 0, 5, true}, Segment{5, 6, 5, 6, false},
                                   Segment{6, 9, 6, 9, true})));
  EXPECT_THAT(lower_one("causal & document & chunk(4)", documents({6, 4})).segments(0),
              Optional(ElementsAre(Segment{0, 4, 0, 4, true}, Segment{4, 6, 4, 6, true},
                                   Segment{6, 8, 6, 8, true}, Segment{8, 10, 8, 10, true})));
}

TEST(Segments, OfMasksThatAreOneDenseCallAreOneSegment) {
  EXPECT_THAT(lower_one("causal", documents({7})).segments(0),
              Optional(ElementsAre(Segment{0, 7, 0, 7, true})));
  EXPECT_THAT(lower_one("full", documents({7})).segments(0),
              Optional(ElementsAre(Segment{0, 7, 0, 7, false})));
  EXPECT_THAT(lower_one("prefix(1)", documents({4})).segments(0),
              Optional(ElementsAre(Segment{0, 4, 0, 1, false})));
}

TEST(Segments, KeepQueriesThatSeeNothingWithNoKeys) {
  const SequenceLayout cross({{0, 1, 2}, {0, 7, 1}, {0, 0, 0}}, {{0, 1}, {0, 1}, {0, 0}});
  EXPECT_THAT(lower_one("document", cross).segments(0),
              Optional(ElementsAre(Segment{0, 1, 0, 1, false}, Segment{1, 2, 0, 0, false},
                                   Segment{2, 3, 1, 2, false})));
}

TEST(Segments, DoNotExistForWindowsPairsOfRunsAndKeysOutOfOrder) {
  EXPECT_EQ(lower_one("sliding_window(8)", documents({400})).segments(0), std::nullopt);
  EXPECT_EQ(lower_one("sliding_window(2)", documents({9})).segments(0, 4), std::nullopt);
  EXPECT_EQ(lower_one("sink(1) | sliding_window(1)", documents({9})).segments(0), std::nullopt);
  const auto shuffled = select_keys(documents({4}), std::vector<int64_t>{1, 0, 2, 3});
  EXPECT_EQ(lower_one("causal", shuffled).segments(0), std::nullopt);
}

TEST(Lowering, TakesRowsWithoutQueriesOrKeys) {
  const auto layout = documents({5});
  const std::vector<int64_t> none;
  const BlockMask no_queries = lower_one("causal", select_queries(layout, none));
  EXPECT_EQ(no_queries.query_length(), 0);
  EXPECT_EQ(no_queries.row(0).by_key.partial_offsets.size(), 3u);
  const BlockMask no_keys = lower_one("~causal", select_keys(layout, none));
  EXPECT_EQ(no_keys.area(), 0);
  EXPECT_THAT(no_keys.to_dense(0), IsEmpty());
  EXPECT_EQ(lower(mask::causal(), {}).batch_size(), 0);
}

TEST(Lowering, RefusesRowsOfDifferentLengths) {
  EXPECT_THAT(
      [] {
        lower(mask::causal(), std::vector{documents({4}), documents({5})});
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("row 1 has 5 queries"), HasSubstr("equally"))));
}

TEST(Lowering, RefusesTilesOfNoSize) {
  EXPECT_THAT(
      [] {
        lower(mask::causal(), std::vector{documents({4})}, {0, 128});
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("tile_q"), HasSubstr("got 0"))));
  EXPECT_THAT(
      [] {
        lower(mask::causal(), std::vector{documents({4})}, {128, 5000});
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("tile_k"), HasSubstr("got 5000"))));
}

TEST(Lowering, RefusesDenseBitsThatEndBeforeTheRow) {
  const Mask bits = mask::dense(4, 3, std::vector<uint8_t>(12, 1));
  EXPECT_THAT([&] { lower(bits, std::vector{documents({4})}); },
              ThrowsMessage<Error>(AllOf(HasSubstr("dense(4 x 3)"), HasSubstr("key token 3"))));
}

TEST(Lowering, PassesOnThatAPredicateThrew) {
  const Mask bad = mask::predicate("picky", [](const Token& q, const Token&) -> bool {
    if (q.index == 3) throw std::runtime_error("not three");
    return true;
  });
  EXPECT_THAT([&] { lower(bad, std::vector{documents({5})}); },
              ThrowsMessage<Error>(AllOf(HasSubstr("picky"), HasSubstr("not three"))));
}

TEST(Lowering, AsksAPredicateOnlyWhereTheRestLeavesTilesOpen) {
  int64_t calls = 0;
  const Mask counting = mask::predicate("counting", [&](const Token&, const Token&) {
    ++calls;
    return true;
  });
  lower(mask::causal() & mask::document() & counting, std::vector{documents({64, 64})}, {16, 16});
  EXPECT_EQ(calls, 2 * 64 * 65 / 2);
}

TEST(Lowering, OfManyRowsInManyThreadsIsThatOfOne) {
  const Mask mask = parse_mask("causal & document & (sink(2) | ~dilated(3))");
  const auto layout = documents({50, 20, 100});
  const auto expected = lower_row(mask, layout, {16, 16});
  std::vector<std::future<std::shared_ptr<const BlockMaskRow>>> rows;
  for (int i = 0; i < 8; ++i) {
    rows.push_back(std::async(std::launch::async, [&] {
      return lower_row(mask, layout, {16, 16});
    }));
  }
  for (auto& row : rows) {
    const auto lowered = row.get();
    EXPECT_EQ(lowered->bits, expected->bits);
    EXPECT_EQ(lowered->by_key.full_ranges, expected->by_key.full_ranges);
    EXPECT_EQ(lowered->by_key_entries, expected->by_key_entries);
  }
}

}  // namespace
}  // namespace coeus
