// Masks whose rows are spread over ranks: their shards go where the rows go.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/block_mask.h"
#include "coeus/mask/context_shard.h"
#include "coeus/mask/lower.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Shards = std::vector<std::shared_ptr<const ContextShard>>;

Shards shards_of(int64_t rows) {
  Shards shards;
  for (int64_t row = 0; row < rows; ++row)
    shards.push_back(std::make_shared<const ContextShard>(ContextShard{.rank = row}));
  return shards;
}

/// Three rows of six tokens.
BlockMask three_rows() {
  std::vector<SequenceLayout> rows;
  for (const int64_t first : {1, 2, 3})
    rows.push_back(SequenceLayout::from_document_lengths(std::vector<int64_t>{first, 6 - first}));
  return lower(mask::causal() & mask::document(), rows, {4, 4});
}

TEST(BlockMaskShards, AreGivenToACopyThatSharesTheRows) {
  const BlockMask mask = three_rows();
  const Shards shards = shards_of(3);
  const BlockMask sharded = mask.with_shards(shards);
  EXPECT_FALSE(mask.is_sharded());
  ASSERT_TRUE(sharded.is_sharded());
  for (int64_t row = 0; row < 3; ++row) {
    EXPECT_EQ(sharded.shard(row), shards[row]);
    EXPECT_EQ(sharded.shared_row(row), mask.shared_row(row));
  }
  EXPECT_EQ(sharded.area(), mask.area());
}

TEST(BlockMaskShards, AreReplacedByLaterOnes) {
  const Shards later = shards_of(3);
  const BlockMask sharded = three_rows().with_shards(shards_of(3)).with_shards(later);
  EXPECT_EQ(sharded.shard(1), later[1]);
}

TEST(BlockMaskShards, AreSlicedWithTheirRows) {
  const Shards shards = shards_of(3);
  const BlockMask sharded = three_rows().with_shards(shards);
  const BlockMask last_two = sharded.slice_rows(1, 3);
  ASSERT_TRUE(last_two.is_sharded());
  ASSERT_EQ(last_two.batch_size(), 2);
  EXPECT_EQ(last_two.shard(0), shards[1]);
  EXPECT_EQ(last_two.shard(1), shards[2]);
  EXPECT_EQ(last_two.shared_row(0), sharded.shared_row(1));
  EXPECT_THAT([&] { last_two.shard(2); },
              ThrowsMessage<Error>(AllOf(HasSubstr("row 2"), HasSubstr("2 rows"))));
  EXPECT_FALSE(three_rows().slice_rows(1, 3).is_sharded());
}

TEST(BlockMaskShards, AreJoinedWithTheirRows) {
  const Shards shards = shards_of(3);
  const BlockMask sharded = three_rows().with_shards(shards);
  const BlockMask joined = BlockMask::concatenate(
      std::vector{sharded.slice_rows(2, 3), sharded.slice_rows(1, 1), sharded.slice_rows(0, 2)});
  ASSERT_EQ(joined.batch_size(), 3);
  EXPECT_EQ(joined.shard(0), shards[2]);
  EXPECT_EQ(joined.shard(1), shards[0]);
  EXPECT_EQ(joined.shard(2), shards[1]);
  EXPECT_EQ(joined.shared_row(0), sharded.shared_row(2));
}

TEST(BlockMaskShards, OfSomeRowsOnlyAreRefused) {
  const BlockMask mask = three_rows();
  const BlockMask sharded = mask.with_shards(shards_of(3));
  const std::vector some{sharded.slice_rows(0, 2), mask.slice_rows(2, 3)};
  EXPECT_THAT([&] { BlockMask::concatenate(some); },
              ThrowsMessage<Error>(AllOf(HasSubstr("2 of 3 rows"), HasSubstr("all or none"))));
  EXPECT_THAT([&] { mask.with_shards(shards_of(2)); },
              ThrowsMessage<Error>(AllOf(HasSubstr("2 shards"), HasSubstr("3 rows"))));
}

TEST(BlockMaskShards, AreNotAskedOfAMaskWithoutThem) {
  EXPECT_THAT([] { three_rows().shard(0); }, ThrowsMessage<Error>(HasSubstr("not spread")));
}

TEST(BlockMaskShards, KeepTheirQueriesWhole) {
  const BlockMask mask = three_rows();
  EXPECT_EQ(mask.slice_queries(2, 4).query_length(), 2);
  EXPECT_THAT([&] { mask.with_shards(shards_of(3)).slice_queries(2, 4); },
              ThrowsMessage<Error>(AllOf(HasSubstr("slice_queries"), HasSubstr("over ranks"))));
}

}  // namespace
}  // namespace coeus
