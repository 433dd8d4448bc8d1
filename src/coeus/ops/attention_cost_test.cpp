#include "coeus/ops/attention_cost.h"

#include <gtest/gtest.h>

#include "coeus/mask/lower.h"

namespace coeus {
namespace {

const AttentionWork kWork = {.heads = 8, .kv_heads = 8, .head_dim = 64, .value_dim = 64};

BlockMask lowered(const char* mask, std::vector<int64_t> documents, int64_t rows = 1) {
  const std::vector<SequenceLayout> batch(rows, SequenceLayout::from_document_lengths(documents));
  return lower(parse_mask(mask), batch);
}

TEST(AttentionCost, OfTheReferenceIsTheSameForEveryMask) {
  EXPECT_EQ(reference_nanoseconds(kWork, lowered("full", {4096})),
            reference_nanoseconds(kWork, lowered("sliding_window(3)", {4096})));
}

TEST(AttentionCost, OfBlockSparseFollowsTheTilesVisited) {
  const double full = block_sparse_nanoseconds(kWork, lowered("full", {4096}));
  EXPECT_NEAR(block_sparse_nanoseconds(kWork, lowered("causal", {4096})) / full, 0.5, 0.05);
  EXPECT_LT(block_sparse_nanoseconds(kWork, lowered("sliding_window(128)", {4096})) / full, 0.1);
  // Where nothing is visible, tensors are still brought into order and back.
  EXPECT_LT(block_sparse_nanoseconds(kWork, lowered("~full", {4096})) / full, 0.05);
}

TEST(AttentionCost, OfSdpaFollowsTheRunsAndTheirNumber) {
  const auto cost = [](std::vector<int64_t> documents) {
    const BlockMask mask = lowered("causal & document", std::move(documents));
    struct Cost {
      double all;
      double each_pair;
    };
    const double nanoseconds = *sdpa_nanoseconds(kWork, mask);
    return Cost{nanoseconds, nanoseconds / static_cast<double>(mask.area())};
  };
  const auto one = cost({4096});
  const auto four = cost({1024, 1024, 1024, 1024});
  const auto many = cost(std::vector<int64_t>(128, 32));
  EXPECT_LT(four.all, one.all / 2);
  EXPECT_GT(many.each_pair, 2 * four.each_pair);
  EXPECT_FALSE(sdpa_nanoseconds(kWork, lowered("sliding_window(7)", {4096})).has_value());
}

TEST(AttentionCost, GrowsWithRowsHeadsAndWidthAndFallsWithThreads) {
  const BlockMask mask = lowered("causal", {1024});
  const auto costs = [](const AttentionWork& work, const BlockMask& mask) {
    return std::array{reference_nanoseconds(work, mask), block_sparse_nanoseconds(work, mask),
                      *sdpa_nanoseconds(work, mask)};
  };
  const auto base = costs(kWork, mask);
  AttentionWork more = kWork;
  more.heads = 16;
  const auto heads = costs(more, mask);
  more = kWork;
  more.head_dim = more.value_dim = 128;
  const auto wide = costs(more, mask);
  more = kWork;
  more.threads = 2;
  const auto threads = costs(more, mask);
  more = kWork;
  more.kv_heads = 2;
  const auto shared = costs(more, mask);
  const auto rows = costs(kWork, lowered("causal", {1024}, 3));
  for (size_t i = 0; i < base.size(); ++i) {
    EXPECT_GT(heads[i], base[i]) << i;
    EXPECT_GT(wide[i], base[i]) << i;
    EXPECT_GT(rows[i], base[i]) << i;
    EXPECT_LT(threads[i], base[i]) << i;
  }
  // Heads that share keys spare block_sparse packing them; sdpa has to copy them instead.
  EXPECT_EQ(shared[0], base[0]);
  EXPECT_LT(shared[1], base[1]);
  EXPECT_GT(shared[2], base[2]);
}

TEST(AttentionCost, OnAGpuFollowsTheNearestMeasuredShape) {
  const auto ratio = [](int64_t heads, int64_t kv_heads, int64_t dim) {
    return own_time_over_cudnn(
        {.heads = heads, .kv_heads = kv_heads, .head_dim = dim, .value_dim = dim});
  };
  EXPECT_NEAR(ratio(64, 8, 128), 1.03, 0.005);
  EXPECT_EQ(ratio(32, 4, 128), ratio(64, 8, 128));
  EXPECT_LT(ratio(32, 8, 128), 0.95);
  EXPECT_EQ(ratio(32, 16, 128), ratio(32, 8, 128)) << "2 is nearer to 4 than to 8";
  EXPECT_EQ(ratio(32, 8, 64), ratio(32, 32, 64)) << "the head dim counts most";
}

}  // namespace
}  // namespace coeus
