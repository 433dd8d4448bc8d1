#include "coeus/parallel/context/token_indexes.h"

#include <gtest/gtest.h>
#include <torch/types.h>

namespace coeus {
namespace {

std::shared_ptr<const ContextShard> shard_with(std::vector<std::vector<int32_t>> places) {
  ContextShard shard;
  shard.places = std::move(places);
  return std::make_shared<const ContextShard>(std::move(shard));
}

TEST(TokenIndexes, HoldTheList) {
  const auto shard = shard_with({{4, 0}, {}, {7, 2, 1}});
  EXPECT_TRUE(at::equal(token_indexes(shard, shard->places[2], at::kCPU),
                        at::tensor({7, 2, 1}, at::kLong)));
  EXPECT_EQ(token_indexes(shard, shard->places[1], at::kCPU).numel(), 0);
}

TEST(TokenIndexes, AreMadeOnceForAShard) {
  const auto shard = shard_with({{4, 0}, {1, 2}});
  const at::Tensor first = token_indexes(shard, shard->places[0], at::kCPU);
  const at::Tensor other = token_indexes(shard, shard->places[1], at::kCPU);
  EXPECT_TRUE(token_indexes(shard, shard->places[0], at::kCPU).is_same(first));
  EXPECT_TRUE(at::equal(other, at::tensor({1, 2}, at::kLong)));
}

TEST(TokenIndexes, AreThoseOfAShardThatIsNewWhereAnotherWas) {
  for (int32_t i = 0; i < 2000; ++i) {
    const auto shard = shard_with({{i}});
    ASSERT_EQ(token_indexes(shard, shard->places[0], at::kCPU).item<int64_t>(), i);
  }
}

}  // namespace
}  // namespace coeus
