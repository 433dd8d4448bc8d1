// Plans held to their promises, and loads to dense masks, over random rows, masks and layers.
// COEUS_PLAN_CASES sets how many random cases there are (2,000 by default).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "coeus/parallel/context/plan/balancer.h"
#include "coeus/parallel/context/plan/context_cost.h"
#include "coeus/parallel/context/plan/random_row.h"

namespace coeus {
namespace {

using testing::RandomRow;
using testing::RandomRows;

constexpr Balancer kOthers[] = {Balancer::kNone, Balancer::kHeadTail, Balancer::kPerDocument,
                                Balancer::kPtrr};

int64_t random_case_count() {
  const char* const text = std::getenv("COEUS_PLAN_CASES");
  return text == nullptr ? 2000 : std::stoll(text);
}

/// Calls check(row, ranks, random) for each random case; any length goes with any number of ranks
/// that leaves each a token.
void for_each_case(
    const std::function<void(const ContextRow&, int64_t ranks, RandomRows& random)>& check) {
  const int64_t cases = random_case_count();
  for (int64_t i = 0; i < cases && !::testing::Test::HasFailure(); ++i) {
    RandomRows random(3000 + i);
    // Large rows take most of the time, so most rows are small.
    const RandomRow drawn = random.row(i % 20 == 0 ? 700 : i % 4 == 0 ? 300 : 60);
    const int64_t ranks = random.draw(1, std::min<int64_t>(9, drawn.tokens.size()));
    SCOPED_TRACE(fmt::format("case {}: {} ranks; {}", i, ranks, drawn.to_string()));
    check(drawn.row(), ranks, random);
  }
}

/// The row's plan by each balancer, joint's last.
std::vector<ContextPlan> all_plans(const ContextRow& row, int64_t ranks) {
  std::vector<ContextPlan> plans;
  for (const Balancer balancer : kOthers)
    plans.push_back(balance(row, {.balancer = balancer, .ranks = ranks}));
  plans.push_back(balance(row, {.ranks = ranks}));
  return plans;
}

int64_t most_work(const ContextRow& row, const ContextPlan& plan) {
  const std::vector<int64_t> work = work_by_rank(row, plan);
  return *std::max_element(work.begin(), work.end());
}

TEST(BalancerProperty, EveryPlanDealsEachTokenOnceInEqualShares) {
  for_each_case([](const ContextRow& row, int64_t ranks, RandomRows&) {
    for (const ContextPlan& plan : all_plans(row, ranks))
      ASSERT_NO_THROW(check_plan(plan, row.tokens(), even_counts(row.tokens(), ranks)));
  });
}

TEST(BalancerProperty, JointIsNeverWorseThanTheOthersNorBetterThanCanBe) {
  for_each_case([](const ContextRow& row, int64_t ranks, RandomRows&) {
    const std::vector<ContextPlan> plans = all_plans(row, ranks);
    const int64_t joint = most_work(row, plans.back());
    const int64_t least = least_possible_work(row, even_counts(row.tokens(), ranks));
    for (const ContextPlan& plan : plans) {
      EXPECT_LE(joint, most_work(row, plan));
      EXPECT_LE(least, most_work(row, plan));
    }
  });
}

TEST(BalancerProperty, LoadsAndPairsAreThoseOfTheDenseMasks) {
  for_each_case([](const ContextRow& row, int64_t ranks, RandomRows&) {
    const testing::DenseRow masks(row);
    for (const ContextPlan& plan : all_plans(row, ranks)) {
      const PlanLoad load = load_of(row, plan);
      const PlanLoad counted = testing::counted_load(row, masks, plan);
      EXPECT_EQ(load.work, counted.work);
      EXPECT_EQ(work_by_rank(row, plan), counted.work);
      EXPECT_EQ(load.received, counted.received);
      EXPECT_EQ(load.sent, counted.sent);
      std::vector<int64_t> work(ranks);
      for (size_t i = 0; i < row.masks.size(); ++i) {
        const std::vector<int64_t> pairs = pairs_by_ranks(*row.masks[i].row, plan);
        EXPECT_EQ(pairs, testing::counted_pairs(masks.dense[i], plan, row.tokens()));
        for (int64_t q = 0; q < ranks; ++q)
          for (int64_t k = 0; k < ranks; ++k) work[q] += row.masks[i].layers * pairs[q * ranks + k];
      }
      EXPECT_EQ(work, load.work);
    }
  });
}

TEST(BalancerProperty, JointHasAnyCountsItIsGiven) {
  for_each_case([](const ContextRow& row, int64_t ranks, RandomRows& random) {
    std::vector<int64_t> counts(ranks, 1);
    for (int64_t left = row.tokens() - ranks; left > 0;) {
      const int64_t more = random.draw(1, left);
      counts[random.draw(0, ranks - 1)] += more;
      left -= more;
    }
    const ContextPlan plan = balance(row, {.ranks = ranks, .counts = counts});
    ASSERT_NO_THROW(check_plan(plan, row.tokens(), counts));
    EXPECT_LE(least_possible_work(row, counts), most_work(row, plan));
  });
}

TEST(BalancerProperty, JointStaysWithinItsSlackAndIsNotWorseForIt) {
  for_each_case([](const ContextRow& row, int64_t ranks, RandomRows& random) {
    const double slack = static_cast<double>(random.draw(1, 99)) / 100;
    const ContextPlan plan = balance(row, {.ranks = ranks, .slack = slack});
    const std::vector<int64_t> counts = plan.counts();
    ASSERT_NO_THROW(check_plan(plan, row.tokens(), counts));
    // Equal shares are always allowed, and these differ by a token where they do not divide.
    const double mean = static_cast<double>(row.tokens()) / static_cast<double>(ranks);
    const double rounding = 1e-9;
    for (const int64_t count : counts) {
      EXPECT_GE(static_cast<double>(count),
                std::min(std::floor(mean), mean * (1 - slack) - rounding));
      EXPECT_LE(static_cast<double>(count),
                std::max(std::ceil(mean), mean * (1 + slack) + rounding));
      EXPECT_GE(count, 1);
    }
    for (const Balancer other : kOthers)
      EXPECT_LE(most_work(row, plan),
                most_work(row, balance(row, {.balancer = other, .ranks = ranks})));
    EXPECT_LE(least_possible_work(row, counts), most_work(row, plan));
  });
}

}  // namespace
}  // namespace coeus
