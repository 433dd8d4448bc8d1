#include "coeus/parallel/context/context_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAreArray;

ContextRowPlanner planner_of(int64_t ranks, int64_t rank, Balancer balancer,
                             const std::string& mask = "causal & document") {
  const ContextOptions options = {.ranks = ranks, .rank = rank, .balancer = balancer};
  return {options,
          [expression = parse_mask(mask)](std::span<const SequenceLayout> rows) {
            return AttentionMasks{{"mask", lower(expression, rows)}};
          },
          {}};
}

/// Row r's token i is 1000 r + i, its label one more.
Batch batch_of(const std::vector<std::vector<int64_t>>& documents) {
  Batch batch;
  for (const auto& lengths : documents) {
    batch.layouts.push_back(SequenceLayout::from_document_lengths(lengths));
    batch.seq_len = batch.row_length = batch.layouts.back().query_length();
    for (int32_t i = 0; i < batch.seq_len; ++i) {
      batch.tokens.push_back(static_cast<int32_t>(1000 * batch.batch_size + i));
      batch.labels.push_back(batch.tokens.back() + 1);
      batch.positions.push_back(i);
    }
    ++batch.batch_size;
  }
  batch.valid_labels = batch.own_labels();
  return batch;
}

TEST(ShardBatch, LeavesARanksTokensWithAllThatBelongsToThem) {
  Batch batch = batch_of({{8}, {8}});
  const ContextRowPlanner planner = planner_of(2, 1, Balancer::kHeadTail);
  const ContextRows rows = planner.plan(batch.layouts);
  shard_batch(batch, rows, planner);
  EXPECT_EQ(batch.seq_len, 4);
  EXPECT_EQ(batch.row_length, 8);
  EXPECT_THAT(batch.tokens, ElementsAre(2, 3, 4, 5, 1002, 1003, 1004, 1005));
  EXPECT_THAT(batch.labels, ElementsAre(3, 4, 5, 6, 1003, 1004, 1005, 1006));
  EXPECT_THAT(batch.positions, ElementsAre(2, 3, 4, 5, 2, 3, 4, 5));
  EXPECT_THAT(batch.layouts[1].query()->index, ElementsAre(2, 3, 4, 5));
  EXPECT_EQ(batch.layouts[1].key_length(), 8);
  EXPECT_EQ(batch.masks.at("mask").query_length(), 4);
  EXPECT_TRUE(batch.masks.at("mask").is_sharded());
  EXPECT_EQ(batch.valid_labels, 16);
  EXPECT_EQ(batch.own_labels(), 8);
  EXPECT_EQ(batch.plan_hash, rows.hash());
}

TEST(ShardBatch, RanksTogetherHaveEveryTokenOnce) {
  std::vector<int32_t> all;
  const Batch whole = batch_of({{5, 8}, {13}});
  for (int64_t rank = 0; rank < 3; ++rank) {
    Batch batch = whole;
    const ContextRowPlanner planner = planner_of(3, rank, Balancer::kJoint);
    shard_batch(batch, planner.plan(batch.layouts), planner);
    all.insert(all.end(), batch.tokens.begin(), batch.tokens.end());
  }
  EXPECT_THAT(all, UnorderedElementsAreArray(whole.tokens));
}

TEST(ShardBatch, RefusesAPlanForOtherRows) {
  Batch batch = batch_of({{8}});
  const ContextRowPlanner planner = planner_of(2, 0, Balancer::kNone);
  const Batch other = batch_of({{9}});
  EXPECT_THROW(shard_batch(batch, planner.plan(other.layouts), planner), Error);
}

/// A row of text, an image of 2 x 1 patches, text, an image of 1 x 2 patches.
Batch batch_with_images() {
  Batch batch = batch_of({{8}});
  batch.images.token = 7;
  batch.images.patch_dim = 1;
  batch.images.grids = {{2, 1}, {1, 2}};
  batch.images.values = {10, 11, 20, 21};
  batch.images.layout = layout_of(batch.images.grids);
  batch.tokens = {1, 7, 7, 2, 3, 7, 7, 4};
  return batch;
}

TEST(ShardBatch, KeepsTheImagesThatARanksTokensStandFor) {
  Batch batch = batch_with_images();
  const ContextRowPlanner planner = planner_of(2, 1, Balancer::kNone);
  shard_batch(batch, planner.plan(batch.layouts), planner);
  EXPECT_THAT(batch.tokens, ElementsAre(3, 7, 7, 4));
  EXPECT_THAT(batch.images.values, ElementsAre(20, 21));
  EXPECT_THAT(batch.images.order, ElementsAre(0, 1));
  EXPECT_EQ(batch.images.layout.query_length(), 2);
}

TEST(ShardBatch, KeepsAnImageWholeOfWhichARankHasOneToken) {
  Batch batch = batch_with_images();
  const ContextRowPlanner planner = planner_of(4, 1, Balancer::kNone);
  shard_batch(batch, planner.plan(batch.layouts), planner);
  EXPECT_THAT(batch.tokens, ElementsAre(7, 2));
  EXPECT_THAT(batch.images.values, ElementsAre(10, 11));
  EXPECT_THAT(batch.images.order, ElementsAre(1));
}

/// The work of each pass of `rows_per_pass` rows.
std::vector<int64_t> pass_work(const std::vector<std::vector<ContextRow>>& rows,
                               int64_t rows_per_pass) {
  std::vector<int64_t> work;
  for (const auto& batch : rows)
    for (size_t row = 0; row < batch.size(); ++row) {
      if (static_cast<int64_t>(row) % rows_per_pass == 0) work.push_back(0);
      work.back() += batch[row].work();
    }
  return work;
}

std::vector<std::vector<int64_t>> random_documents(int64_t rows, int64_t tokens, int seed) {
  std::mt19937_64 random(seed);
  std::vector<std::vector<int64_t>> documents;
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<int64_t> lengths;
    for (int64_t left = tokens; left > 0; left -= lengths.back())
      lengths.push_back(std::uniform_int_distribution<int64_t>(1, left)(random));
    documents.push_back(lengths);
  }
  return documents;
}

TEST(BalancePasses, MakesPassesMoreEvenAndKeepsTheStepsRows) {
  const ContextRowPlanner planner = planner_of(2, 0, Balancer::kJoint);
  for (int seed = 0; seed < 20; ++seed) {
    std::vector<Batch> step;
    std::vector<std::vector<ContextRow>> rows;
    std::vector<int32_t> tokens;
    for (int batch = 0; batch < 2; ++batch) {
      step.push_back(batch_of(random_documents(6, 64, 2 * seed + batch)));
      for (int32_t& token : step.back().tokens) token += 10000 * batch;
      tokens.insert(tokens.end(), step.back().tokens.begin(), step.back().tokens.end());
      rows.push_back(planner.lower_rows(step.back().layouts));
    }
    const std::vector<int64_t> before = pass_work(rows, 2);
    balance_passes(step, rows, 2);
    const std::vector<int64_t> after = pass_work(rows, 2);
    ASSERT_EQ(after.size(), before.size());
    EXPECT_LE(*std::ranges::max_element(after), *std::ranges::max_element(before)) << seed;

    std::vector<int32_t> moved;
    for (size_t batch = 0; batch < step.size(); ++batch) {
      moved.insert(moved.end(), step[batch].tokens.begin(), step[batch].tokens.end());
      ASSERT_EQ(step[batch].layouts.size(), 6U);
      // Rows, layouts and what was lowered of them have moved alike.
      for (size_t row = 0; row < 6; ++row)
        EXPECT_EQ(rows[batch][row].layout.query(), step[batch].layouts[row].query());
    }
    EXPECT_THAT(moved, UnorderedElementsAreArray(tokens));
  }
}

TEST(BalancePasses, LeavesAStepOfOnePassAndBatchesWithImagesAlone) {
  const ContextRowPlanner planner = planner_of(2, 0, Balancer::kJoint);
  std::vector<Batch> one = {batch_of({{8}, {4, 4}})};
  std::vector<std::vector<ContextRow>> rows = {planner.lower_rows(one[0].layouts)};
  const std::vector<int32_t> tokens = one[0].tokens;
  balance_passes(one, rows, 2);
  EXPECT_EQ(one[0].tokens, tokens);

  std::vector<Batch> images = {batch_of({{4, 4}}), batch_with_images()};
  rows = {planner.lower_rows(images[0].layouts), planner.lower_rows(images[1].layouts)};
  balance_passes(images, rows, 1);
  EXPECT_EQ(images[1].tokens[1], 7);
}

}  // namespace
}  // namespace coeus
