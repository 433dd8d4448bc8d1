#include "coeus/parallel/context/plan/even_layers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "coeus/parallel/context/plan/balancer.h"
#include "coeus/parallel/context/plan/random_row.h"

namespace coeus {
namespace {

using testing::RandomRows;

/// Two masks: rank 0 has all work of the one, rank 1 of the other, and both as much in all.
ContextRow lopsided_row() {
  const auto layout = SequenceLayout::from_document_lengths(std::vector<int64_t>{64});
  const auto lowered = [&](const char* mask) { return lower_row(parse_mask(mask), layout); };
  return {layout, {{"early", lowered("prefix(64) & ~causal"), 1}, {"late", lowered("causal"), 1}}};
}
const ContextPlan kHalves = {{{{0, 32}}, {{32, 64}}}};

TEST(LayeredWork, SumsEachMasksBusiestRank) {
  const ContextRow row = lopsided_row();
  // Query i sees 63 - i later keys under the one mask and i + 1 under the other.
  int64_t early = 0, late = 0;
  for (int64_t i = 0; i < 32; ++i) early += 63 - i;
  for (int64_t i = 32; i < 64; ++i) late += i + 1;
  EXPECT_EQ(layered_work(row, kHalves), early + late);
}

TEST(EvenLayers, EvensOutMasksThatAreOnlyEvenTogether) {
  const ContextRow row = lopsided_row();
  const double mean = static_cast<double>(row.work()) / 2;
  EXPECT_GT(static_cast<double>(layered_work(row, kHalves)), 1.4 * mean);
  const ContextPlan plan = with_even_layers(row, kHalves, std::numeric_limits<int64_t>::max());
  check_plan(plan, 64, {32, 32});
  EXPECT_LE(static_cast<double>(layered_work(row, plan)), 1.05 * mean);
}

TEST(EvenLayers, KeepsCountsAndTotalsAndNeverMakesItWorse) {
  for (int i = 0; i < 400; ++i) {
    RandomRows random(7000 + i);
    const ContextRow row = random.row(200).row();
    const int64_t ranks = random.draw(1, std::min<int64_t>(6, row.tokens()));
    const ContextPlan before = balance(row, {.balancer = Balancer::kPtrr, .ranks = ranks});
    const std::vector<int64_t> works = work_by_rank(row, before);
    const int64_t most = *std::max_element(works.begin(), works.end());
    const ContextPlan after = with_even_layers(row, before, most);
    check_plan(after, row.tokens(), before.counts());
    const std::vector<int64_t> now = work_by_rank(row, after);
    EXPECT_LE(*std::max_element(now.begin(), now.end()), most) << i;
    EXPECT_LE(layered_work(row, after), layered_work(row, before)) << i;
    EXPECT_GE(layered_work(row, after), *std::max_element(now.begin(), now.end())) << i;
    if (row.masks.size() == 1) {
      EXPECT_EQ(after, before);
    }
  }
}

}  // namespace
}  // namespace coeus
