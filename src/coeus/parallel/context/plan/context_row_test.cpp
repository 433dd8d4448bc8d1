#include "coeus/parallel/context/plan/context_row.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"
#include "coeus/parallel/context/plan/random_row.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

SequenceLayout documents(const std::vector<int64_t>& lengths) {
  return SequenceLayout::from_document_lengths(lengths);
}

LayersMask layers_mask(const SequenceLayout& layout, const char* mask, int64_t layers) {
  return {mask, lower_row(parse_mask(mask), layout, {4, 4}), layers};
}

/// Documents of 3 and 2 tokens: one layer under the causal mask, two within the documents.
ContextRow small_row() {
  const SequenceLayout layout = documents({3, 2});
  return {layout, {layers_mask(layout, "causal", 1), layers_mask(layout, "causal & document", 2)}};
}

TEST(ContextRow, AddsUpTheWorkOfAllLayers) {
  const ContextRow row = small_row();
  // Per token 1, 2, 3, 4, 5 under the first mask, and twice 1, 2, 3, 1, 2 under the second.
  EXPECT_THAT(row.work_before, ElementsAre(0, 3, 9, 18, 24, 33));
  EXPECT_EQ(row.tokens(), 5);
  EXPECT_EQ(row.work(), 33);
  EXPECT_EQ(row.work_of({{0, 1}, {3, 5}}), 3 + 6 + 9);
  EXPECT_EQ(row.work_of({}), 0);
}

TEST(ContextRow, OfBitsHasTheirWork) {
  const SequenceLayout layout = documents({5});
  const LayersMask dilated = layers_mask(layout, "causal & dilated(2)", 3);
  ASSERT_EQ(dilated.row->interval_count, 0);
  EXPECT_THAT(ContextRow(layout, {dilated}).work_before, ElementsAre(0, 3, 6, 12, 18, 27));
}

TEST(ContextRow, WithoutMasksHasNoWork) {
  const ContextRow row(documents({4}), {});
  EXPECT_EQ(row.work(), 0);
  EXPECT_THAT([&] { row.main_mask(); }, ThrowsMessage<Error>(HasSubstr("no mask")));
}

TEST(ContextRow, KnowsTheMaskOfTheMostLayers) {
  EXPECT_EQ(small_row().main_mask().name, "causal & document");
  const SequenceLayout layout = documents({4});
  const ContextRow even(layout, {layers_mask(layout, "causal", 2), layers_mask(layout, "full", 2)});
  EXPECT_EQ(even.main_mask().name, "causal");
}

TEST(ContextRow, RefusesMasksOfAnotherLengthAndLayersBelowOne) {
  const SequenceLayout four = documents({4});
  const SequenceLayout five = documents({5});
  const SequenceLayout wide(four.query(), five.key());
  const SequenceLayout high(five.query(), four.key());
  const auto is_refused = ThrowsMessage<Error>(AllOf(HasSubstr("\"causal\""), HasSubstr("4 tok")));
  EXPECT_THAT([&] { ContextRow(four, {layers_mask(five, "causal", 1)}); }, is_refused);
  EXPECT_THAT([&] { ContextRow(four, {layers_mask(wide, "causal", 1)}); }, is_refused);
  EXPECT_THAT([&] { ContextRow(four, {layers_mask(high, "causal", 1)}); }, is_refused);
  EXPECT_THAT([&] { ContextRow(four, {{"causal", nullptr, 1}}); }, is_refused);
  EXPECT_THAT([&] { ContextRow(four, {layers_mask(four, "causal", 0)}); },
              ThrowsMessage<Error>(HasSubstr("0 layers")));
}

TEST(ContextRow, OfABatchHasItsRowOfEachMask) {
  const std::vector rows{documents({4, 2}), documents({1, 5})};
  const AttentionMasks masks = {{"nope", lower(mask::causal() & mask::document(), rows)},
                                {"rope", lower(mask::causal() & mask::chunk(2), rows)}};
  const ContextRow row = context_row(rows[1], masks, 1, {{"rope", 3}, {"unknown", 7}});
  ASSERT_EQ(row.masks.size(), 2u);
  EXPECT_EQ(row.masks[0].name, "nope");
  EXPECT_EQ(row.masks[0].layers, 1);
  EXPECT_EQ(row.masks[0].row, masks.at("nope").shared_row(1));
  EXPECT_EQ(row.masks[1].name, "rope");
  EXPECT_EQ(row.masks[1].layers, 3);
  EXPECT_EQ(row.work(), (1 + 15) + 3 * (3 * 3));
}

TEST(PlanLoad, CountsWorkAndExchangedKeysByHand) {
  const ContextRow row = small_row();
  const ContextPlan plan = {{{{0, 1}, {4, 5}}, {{1, 4}}}};
  const PlanLoad load = load_of(row, plan);
  EXPECT_THAT(load.work, ElementsAre(3 + 9, 6 + 9 + 6));
  EXPECT_EQ(work_by_rank(row, plan), load.work);
  // Causal: token 4 sees 1, 2 and 3 of rank 1, whose tokens see 0. Within documents, twice: token 4
  // sees 3, and tokens 1 and 2 see 0.
  EXPECT_THAT(load.received, ElementsAre(3 + 2 * 1, 1 + 2 * 1));
  EXPECT_THAT(load.sent, ElementsAre(1 + 2 * 1, 3 + 2 * 1));
  EXPECT_EQ(load.most_work(), 21);
  EXPECT_DOUBLE_EQ(load.imbalance(), 21 / 16.5);
  EXPECT_EQ(load.all_received(), 8);
}

TEST(PlanLoad, WithoutWorkIsEven) {
  const ContextRow row(documents({4}), {});
  EXPECT_EQ(load_of(row, {{{{0, 3}}, {{3, 4}}}}).imbalance(), 1);
  EXPECT_EQ(load_of(row, {{{{0, 3}}, {{3, 4}}}}).most_work(), 0);
}

TEST(LeastPossibleWork, IsTheMeanOrWhatTheCostliestTokenLeaves) {
  const SequenceLayout layout = documents({6});
  const ContextRow causal(layout, {layers_mask(layout, "causal", 1)});
  EXPECT_EQ(least_possible_work(causal, {3, 3}), 11);  // 21 pairs over two ranks
  EXPECT_EQ(least_possible_work(causal, {2, 2, 2}), 7);
  EXPECT_EQ(least_possible_work(causal, {1, 1, 1, 1, 1, 1}), 6);
  EXPECT_EQ(least_possible_work(causal, {4, 2}), 11);
  EXPECT_EQ(least_possible_work(causal, {6}), 21);
  EXPECT_EQ(least_possible_work(causal, {}), 0);
  // The last token sees 5 keys and has the cheapest one beside it; the mean is only 18 / 4.
  const SequenceLayout packed = documents({1, 1, 1, 5});
  const ContextRow uneven(packed, {layers_mask(packed, "causal & document", 1)});
  EXPECT_EQ(least_possible_work(uneven, {2, 2, 2, 2}), 6);
}

/// The busiest rank's work under the best of all plans with these counts, tried one by one.
int64_t best_of_all(const ContextRow& row, const std::vector<int64_t>& counts) {
  std::vector<int64_t> owner;
  for (size_t rank = 0; rank < counts.size(); ++rank)
    owner.insert(owner.end(), counts[rank], static_cast<int64_t>(rank));
  int64_t best = row.work();
  do {
    std::vector<int64_t> work(counts.size());
    for (int64_t q = 0; q < row.tokens(); ++q)
      work[owner[q]] += row.work_before[q + 1] - row.work_before[q];
    best = std::min(best, *std::max_element(work.begin(), work.end()));
  } while (std::next_permutation(owner.begin(), owner.end()));
  return best;
}

TEST(LeastPossibleWork, IsNeverMoreThanTheBestOfAllPlans) {
  int64_t reached = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    testing::RandomRows random(seed);
    const testing::RandomRow drawn = random.row(8);
    const ContextRow row = drawn.row();
    std::vector<int64_t> counts(random.draw(1, std::min<int64_t>(3, row.tokens())), 1);
    for (int64_t left = row.tokens() - static_cast<int64_t>(counts.size()); left > 0; --left)
      ++counts[random.draw(0, static_cast<int64_t>(counts.size()) - 1)];
    const int64_t least = least_possible_work(row, counts);
    const int64_t best = best_of_all(row, counts);
    ASSERT_LE(least, best) << drawn.to_string() << "; counts "
                           << fmt::format("{}", fmt::join(counts, ", "));
    reached += least == best ? 1 : 0;
  }
  // A bound that says little would pass as well.
  EXPECT_GT(reached, 100);
}

}  // namespace
}  // namespace coeus
