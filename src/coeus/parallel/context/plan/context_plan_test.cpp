#include "coeus/parallel/context/plan/context_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "coeus/base/error.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

/// Seven tokens: 0, 1 and 6 to the first rank, 2 to 5 to the second.
ContextPlan seven_tokens() { return {{{{0, 2}, {6, 7}}, {{2, 6}}}}; }

TEST(EvenCounts, DifferByOneWhereTokensDoNotDivide) {
  EXPECT_THAT(even_counts(12, 3), ElementsAre(4, 4, 4));
  EXPECT_THAT(even_counts(11, 4), ElementsAre(3, 3, 3, 2));
  EXPECT_THAT(even_counts(3, 3), ElementsAre(1, 1, 1));
  EXPECT_THAT(even_counts(2, 3), ElementsAre(1, 1, 0));
  EXPECT_THAT(even_counts(0, 2), ElementsAre(0, 0));
}

TEST(ContextPlan, CountsTheTokensOfEachRank) {
  EXPECT_THAT(seven_tokens().counts(), ElementsAre(3, 4));
  EXPECT_EQ(seven_tokens().rank_count(), 2);
}

TEST(ContextPlan, PassesWhenItDealsEachTokenOnce) {
  EXPECT_NO_THROW(check_plan(seven_tokens(), 7, {3, 4}));
  EXPECT_NO_THROW(check_plan({{{}, {}}}, 0, {0, 0}));
  EXPECT_NO_THROW(check_plan({{{}, {{0, 2}}}}, 2, {0, 2}));
}

TEST(ContextPlan, IsRefusedWithOtherCountsThanPromised) {
  EXPECT_THAT(
      [] {
        check_plan(seven_tokens(), 7, {4, 3});
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("3, 4"), HasSubstr("4, 3"))));
  EXPECT_THAT(
      [] {
        check_plan(seven_tokens(), 7, {3, 4, 0});
      },
      ThrowsMessage<Error>(HasSubstr("3, 4, 0")));
}

TEST(ContextPlan, IsRefusedWhenATokenIsDealtTwiceOrNotAtAll) {
  const auto is_refused = ThrowsMessage<Error>(HasSubstr("twice or not at all"));
  // 2 twice; 2 twice and 3 missing; 6 missing at the end; one past the end; 0 missing.
  EXPECT_THAT([] { check_plan({{{{0, 3}, {6, 7}}, {{2, 6}}}}, 7, {4, 4}); }, is_refused);
  EXPECT_THAT([] { check_plan({{{{0, 3}}, {{2, 3}, {4, 7}}}}, 7, {3, 4}); }, is_refused);
  EXPECT_THAT([] { check_plan({{{{0, 2}}, {{2, 6}}}}, 7, {2, 4}); }, is_refused);
  EXPECT_THAT([] { check_plan({{{{0, 4}}, {{4, 8}}}}, 7, {4, 4}); }, is_refused);
  EXPECT_THAT([] { check_plan({{{{1, 4}}, {{4, 7}}}}, 7, {3, 3}); }, is_refused);
  EXPECT_THAT([] { check_plan({{{{0, 2}}}}, 0, {2}); }, is_refused);
}

TEST(ContextPlan, HashesAlikeOnlyWhenEqual) {
  const ContextPlan plan = seven_tokens();
  EXPECT_EQ(plan.hash(), seven_tokens().hash());
  // The ranks' places exchanged; one token moved; the runs of two ranks on one; one rank more; a
  // run that ends earlier.
  const std::vector<ContextPlan> others = {{{{{2, 6}}, {{0, 2}, {6, 7}}}},
                                           {{{{0, 1}, {6, 7}}, {{1, 6}}}},
                                           {{{{0, 2}, {2, 6}, {6, 7}}, {}}},
                                           {{{{0, 2}, {6, 7}}, {{2, 6}}, {}}},
                                           {{{{0, 2}}, {{6, 7}, {2, 6}}}},
                                           {{{{0, 2}, {6, 7}}, {{2, 5}}}},
                                           {}};
  for (size_t i = 0; i < others.size(); ++i) {
    EXPECT_NE(others[i].hash(), plan.hash()) << i;
    for (size_t j = 0; j < i; ++j) EXPECT_NE(others[i].hash(), others[j].hash()) << i << " " << j;
  }
}

}  // namespace
}  // namespace coeus
