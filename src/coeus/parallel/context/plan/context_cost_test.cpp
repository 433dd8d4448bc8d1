#include "coeus/parallel/context/plan/context_cost.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"
#include "coeus/parallel/context/plan/balancer.h"
#include "coeus/parallel/context/plan/random_row.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr ContextMethod kAll[] = {ContextMethod::kAllGather, ContextMethod::kRing,
                                  ContextMethod::kAllToAll, ContextMethod::kNeeded};

/// One layer under one mask.
ContextRow row_of(const std::vector<int64_t>& documents, const char* mask) {
  const auto layout = SequenceLayout::from_document_lengths(documents);
  return {layout, {{mask, lower_row(parse_mask(mask), layout, {4, 4}), 1}}};
}

/// Keys and values of a token: 2 heads of 3 + 5 numbers of 2 bytes, 32 bytes.
ContextCostModel small_model() {
  return {.heads = 4, .kv_heads = 2, .key_dim = 3, .value_dim = 5, .element_size = 2};
}

std::vector<int64_t> received(ContextMethod method, const ContextRow& row, const ContextPlan& plan,
                              const ContextCostModel& model) {
  return cost_of(method, {row}, {plan}, 0, model).received_bytes;
}

/// Two documents of 4 tokens and a rank's chunks of two tokens from both ends: queries 6 and 7 see
/// keys 4 and 5 of rank 1, and its queries 2 and 3 see keys 0 and 1 of rank 0.
struct HeadTailOfTwoDocuments {
  ContextRow row = row_of({4, 4}, "causal & document");
  ContextPlan plan = {{{{0, 2}, {6, 8}}, {{2, 6}}}};
};

TEST(ContextMethodName, ReadsBack) {
  for (const ContextMethod method : kAll)
    EXPECT_EQ(context_method_from_name(name_of(method)), method);
  EXPECT_EQ(name_of(ContextMethod::kAllToAll), "alltoall");
}

TEST(ContextMethodName, WhenUnknownIsRefusedWithTheRightOnes) {
  EXPECT_THAT([] { context_method_from_name("ulysses"); },
              ThrowsMessage<ConfigError>(
                  AllOf(HasSubstr("parallelism.context_parallel_method"), HasSubstr("\"ulysses\""),
                        HasSubstr("auto, allgather, ring, alltoall or needed"))));
}

TEST(ContextCost, CountsBytesByHandWhereDocumentsAreCut) {
  const HeadTailOfTwoDocuments example;
  const ContextCostModel model = small_model();
  EXPECT_EQ(model.key_value_bytes(), 32);
  EXPECT_THAT(received(ContextMethod::kAllGather, example.row, example.plan, model),
              ElementsAre(4 * 32, 4 * 32));
  EXPECT_THAT(received(ContextMethod::kRing, example.row, example.plan, model),
              ElementsAre(4 * 32, 4 * 32));
  EXPECT_THAT(received(ContextMethod::kNeeded, example.row, example.plan, model),
              ElementsAre(2 * 32, 2 * 32));
  // Of each of 4 tokens 2 heads of q and 1 of k and v come, 2 x 3 + 8 numbers; and of each own
  // token the other 2 heads' output comes back, 2 x 5.
  EXPECT_THAT(received(ContextMethod::kAllToAll, example.row, example.plan, model),
              ElementsAre((4 * 14 + 4 * 10) * 2, (4 * 14 + 4 * 10) * 2));
}

TEST(ContextCost, CountsBytesByHandWhereTokensDoNotDivide) {
  const ContextRow row = row_of({7}, "causal");
  const ContextPlan plan = {{{{0, 4}}, {{4, 7}}}};
  EXPECT_THAT(received(ContextMethod::kAllGather, row, plan, small_model()),
              ElementsAre(3 * 32, 4 * 32));
  EXPECT_THAT(received(ContextMethod::kNeeded, row, plan, small_model()), ElementsAre(0, 4 * 32));
}

TEST(ContextCost, AddsUpRows) {
  const ContextRow first = row_of({7}, "causal");
  const ContextRow second = row_of({7}, "causal & sliding_window(2)");
  const ContextPlan plan = {{{{0, 4}}, {{4, 7}}}};
  const MethodCost cost =
      cost_of(ContextMethod::kNeeded, {first, second}, {plan, plan}, 0, small_model());
  EXPECT_THAT(cost.received_bytes, ElementsAre(0, (4 + 1) * 32));
  EXPECT_EQ(cost.most_received_bytes(), 160);
  // 10 + 7 pairs and 18 + 6.
  EXPECT_DOUBLE_EQ(cost.imbalance, 24 / 20.5);
}

TEST(ContextCost, LooksAtTheMaskThatIsAskedForAndNotAtItsLayers) {
  const auto layout = SequenceLayout::from_document_lengths(std::vector<int64_t>{7});
  const ContextRow row(layout, {{"far", lower_row(mask::causal(), layout), 9},
                                {"near", lower_row(mask::causal() & mask::chunk(4), layout), 5}});
  const ContextPlan plan = {{{{0, 4}}, {{4, 7}}}};
  const auto of_mask = [&](size_t mask) {
    return cost_of(ContextMethod::kNeeded, {row}, {plan}, mask, small_model()).received_bytes;
  };
  EXPECT_THAT(of_mask(0), ElementsAre(0, 4 * 32));
  EXPECT_THAT(of_mask(1), ElementsAre(0, 0));
}

TEST(ContextCost, RefusesRowsWithoutAPlanEach) {
  const HeadTailOfTwoDocuments example;
  const auto is_refused = ThrowsMessage<Error>(HasSubstr("one plan a row"));
  EXPECT_THAT([&] { cost_of(ContextMethod::kRing, {example.row}, {}, 0, {}); }, is_refused);
  EXPECT_THAT([] { cheapest_method({}, {}, 0, {}); }, is_refused);
}

TEST(AllToAll, DealsHeadsAsEvenlyAsCanBe) {
  EXPECT_THAT(heads_by_rank(8, 4), ElementsAre(2, 2, 2, 2));
  EXPECT_THAT(heads_by_rank(10, 4), ElementsAre(3, 3, 2, 2));
  EXPECT_THAT(heads_by_rank(2, 3), ElementsAre(1, 1, 0));
}

TEST(AllToAll, ReceivesTheKeyHeadsThatItsQueryHeadsShareWhole) {
  // 6 query heads in groups of 3 over 4 ranks: 0 1 | 2 3 | 4 | 5. Rank 1 needs both key heads.
  const ContextRow row = row_of({8}, "causal");
  const ContextPlan plan = {{{{0, 2}}, {{2, 4}}, {{4, 6}}, {{6, 8}}}};
  const ContextCostModel model = {
      .heads = 6, .kv_heads = 2, .key_dim = 3, .value_dim = 5, .element_size = 2};
  const MethodCost cost = cost_of(ContextMethod::kAllToAll, {row}, {plan}, 0, model);
  EXPECT_THAT(
      cost.received_bytes,
      ElementsAre((6 * (2 * 3 + 1 * 8) + 2 * 4 * 5) * 2, (6 * (2 * 3 + 2 * 8) + 2 * 4 * 5) * 2,
                  (6 * (1 * 3 + 1 * 8) + 2 * 5 * 5) * 2, (6 * (1 * 3 + 1 * 8) + 2 * 5 * 5) * 2));
  EXPECT_DOUBLE_EQ(cost.imbalance, 2 / 1.5);
}

TEST(AllToAll, OfFewerHeadsThanRanksLeavesSomeWithNothingToAttendTo) {
  const ContextRow row = row_of({6}, "causal");
  const ContextPlan plan = {{{{0, 2}}, {{2, 4}}, {{4, 6}}}};
  const ContextCostModel model = {
      .heads = 2, .kv_heads = 2, .key_dim = 3, .value_dim = 5, .element_size = 2};
  const MethodCost cost = cost_of(ContextMethod::kAllToAll, {row}, {plan}, 0, model);
  // The last rank gets no tokens of any head, but its own tokens' outputs.
  EXPECT_THAT(cost.received_bytes,
              ElementsAre((4 * 11 + 2 * 5) * 2, (4 * 11 + 2 * 5) * 2, (0 + 2 * 2 * 5) * 2));
  EXPECT_DOUBLE_EQ(cost.imbalance, 1.5);
}

/// Nothing but computing takes time, at 2 x 4 heads x (3 + 5) operations a pair.
ContextCostModel model_without_waiting() {
  ContextCostModel model = small_model();
  model.flops_per_second = 64;
  model.bytes_per_second = std::numeric_limits<double>::infinity();
  model.seconds_per_exchange = 0;
  return model;
}

TEST(ContextCost, OfComputingIsTheBusiestRanksForwardAndBackward) {
  const ContextRow row = row_of({7}, "causal");
  const ContextPlan plan = {{{{0, 4}}, {{4, 7}}}};
  const auto seconds = [&](ContextMethod method) {
    return cost_of(method, {row}, {plan}, 0, model_without_waiting()).seconds;
  };
  // 10 and 18 pairs a rank; backward takes 2.5 times as long as forward.
  EXPECT_DOUBLE_EQ(seconds(ContextMethod::kAllGather), 3.5 * 18);
  EXPECT_DOUBLE_EQ(seconds(ContextMethod::kNeeded), 3.5 * 18);
  // Half of the heads, over all pairs.
  EXPECT_DOUBLE_EQ(seconds(ContextMethod::kAllToAll), 3.5 * 28 / 2);
  // At once 10 and 6 pairs over own keys, then 0 and 12 over the other's.
  EXPECT_DOUBLE_EQ(seconds(ContextMethod::kRing), 3.5 * (10 + 12));
}

TEST(ContextCost, OfExchangeIsTheBusiestRanksThereAndBack) {
  const ContextRow row = row_of({7}, "causal");
  const ContextPlan plan = {{{{0, 4}}, {{4, 7}}}};
  ContextCostModel model = small_model();
  model.flops_per_second = std::numeric_limits<double>::infinity();
  model.bytes_per_second = 16;
  model.seconds_per_exchange = 10;
  const auto seconds = [&](ContextMethod method) {
    return cost_of(method, {row}, {plan}, 0, model).seconds;
  };
  EXPECT_DOUBLE_EQ(seconds(ContextMethod::kAllGather), 2 * (10 + 128.0 / 16));
  // Rank 1 gets 4 tokens' 2 heads of q and one of k and v, and 2 heads' output of its own 3: 172
  // bytes. The outputs' exchange waits once more each way.
  EXPECT_DOUBLE_EQ(seconds(ContextMethod::kAllToAll), 2 * (10 + 172.0 / 16) + 2 * 10);
  EXPECT_DOUBLE_EQ(seconds(ContextMethod::kNeeded), 2 * (10 + 128.0 / 16));
  // All see the first token: a rank gets one token at most, but the first one gives it twice.
  EXPECT_DOUBLE_EQ(cost_of(ContextMethod::kNeeded, {row_of({3}, "prefix(1)")},
                           {{{{{0, 1}}, {{1, 2}}, {{2, 3}}}}}, 0, model)
                       .seconds,
                   2 * (10 + 64.0 / 16));
  // Nothing is exchanged where each rank has whole documents.
  EXPECT_EQ(cost_of(ContextMethod::kNeeded, {row_of({4, 3}, "causal & document")}, {plan}, 0, model)
                .seconds,
            0);
}

TEST(ContextCost, OfTheRingHidesWhatArrivesWhileItComputes) {
  const ContextRow row = row_of({7}, "causal");
  const ContextPlan plan = {{{{0, 4}}, {{4, 7}}}};
  ContextCostModel model = model_without_waiting();
  const double computing = cost_of(ContextMethod::kRing, {row}, {plan}, 0, model).seconds;
  // The keys of four tokens, 128 bytes, arrive within the 10 seconds of the first step, and with
  // their gradients, 384 bytes, within the 25 of its way back and the 30 of the second one's.
  model.bytes_per_second = 384.0 / 25;
  EXPECT_DOUBLE_EQ(cost_of(ContextMethod::kRing, {row}, {plan}, 0, model).seconds, computing);
  // At 8 bytes a second they take 16 and 48.
  model.bytes_per_second = 8;
  EXPECT_DOUBLE_EQ(cost_of(ContextMethod::kRing, {row}, {plan}, 0, model).seconds,
                   16 + 48 + 12 + 48);
}

TEST(ContextCost, OfTheRingGoesFromEachRankToTheNext) {
  // Own pairs are 3 a rank; keys of the rank before are seen in 3 pairs, those of the one before
  // that in none.
  const ContextRow row = row_of({6}, "causal & sliding_window(3)");
  const ContextPlan plan = {{{{0, 2}}, {{2, 4}}, {{4, 6}}}};
  ASSERT_THAT(pairs_by_ranks(*row.masks[0].row, plan), ElementsAre(3, 0, 0, 3, 3, 0, 0, 3, 3));
  ContextCostModel model = model_without_waiting();
  model.seconds_per_exchange = 2;
  // Forward 3 and 3 seconds hide an exchange each; backward 7.5 and 7.5 do, and the last waits.
  EXPECT_DOUBLE_EQ(cost_of(ContextMethod::kRing, {row}, {plan}, 0, model).seconds,
                   3 + 3 + 0 + 7.5 + 7.5 + 2);
}

/// Calls check(rows, plans, random) for random rows of equal counts, and plans of any balancer.
void for_each_case(
    const std::function<void(const std::vector<ContextRow>&, const std::vector<ContextPlan>&,
                             testing::RandomRows&)>& check) {
  constexpr Balancer kBalancers[] = {Balancer::kNone, Balancer::kHeadTail, Balancer::kPerDocument,
                                     Balancer::kPtrr, Balancer::kJoint};
  for (uint64_t seed = 0; seed < 300 && !::testing::Test::HasFailure(); ++seed) {
    testing::RandomRows random(70000 + seed);
    const int64_t ranks = random.draw(1, 9);
    std::vector<ContextRow> rows;
    std::vector<ContextPlan> plans;
    std::string text = fmt::format("case {}: {} ranks", seed, ranks);
    for (int64_t left = random.draw(1, 2); left > 0; --left) {
      testing::RandomRow drawn = random.row(200);
      while (drawn.tokens.size() < ranks) drawn = random.row(200);
      text += "; " + drawn.to_string();
      rows.push_back(drawn.row());
      const Balancer balancer = kBalancers[random.draw(0, 4)];
      plans.push_back(balance(rows.back(), {.balancer = balancer, .ranks = ranks}));
    }
    SCOPED_TRACE(text);
    check(rows, plans, random);
  }
}

TEST(ContextCostProperty, NeededIsNeverMoreThanAllGather) {
  for_each_case([](const auto& rows, const auto& plans, testing::RandomRows&) {
    const MethodCost needed = cost_of(ContextMethod::kNeeded, rows, plans, 0, {});
    const MethodCost all = cost_of(ContextMethod::kAllGather, rows, plans, 0, {});
    ASSERT_EQ(needed.received_bytes.size(), all.received_bytes.size());
    for (size_t rank = 0; rank < all.received_bytes.size(); ++rank)
      EXPECT_LE(needed.received_bytes[rank], all.received_bytes[rank]);
  });
}

TEST(ContextCostProperty, RingWithoutWaitingTakesEachStepsBusiestRank) {
  for_each_case([](const auto& rows, const auto& plans, testing::RandomRows&) {
    const int64_t ranks = plans[0].rank_count();
    std::vector<int64_t> pairs(ranks * ranks);
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::vector<int64_t> of_row = pairs_by_ranks(*rows[i].masks[0].row, plans[i]);
      for (size_t j = 0; j < pairs.size(); ++j) pairs[j] += of_row[j];
    }
    int64_t busiest = 0;
    for (int64_t step = 0; step < ranks; ++step) {
      int64_t most = 0;
      // Keys go to the next rank at each step.
      for (int64_t owner = 0; owner < ranks; ++owner)
        most = std::max(most, pairs[(owner + step) % ranks * ranks + owner]);
      busiest += most;
    }
    const MethodCost ring = cost_of(ContextMethod::kRing, rows, plans, 0, model_without_waiting());
    EXPECT_NEAR(ring.seconds, 3.5 * static_cast<double>(busiest), 1e-9 * ring.seconds);
  });
}

TEST(ContextCostProperty, TheCheapestMethodIsTheLeastOfTheFour) {
  std::vector<int64_t> chosen(4);
  for_each_case([&](const auto& rows, const auto& plans, testing::RandomRows& random) {
    ContextCostModel model;
    // From exchange that hardly takes time to exchange that takes nearly all of it.
    model.bytes_per_second = 1e6 * std::pow(10.0, static_cast<double>(random.draw(0, 6)));
    model.seconds_per_exchange = std::pow(10.0, -static_cast<double>(random.draw(2, 9)));
    model.heads = random.draw(0, 1) == 0 ? 32 : 8;
    const MethodCost cheapest = cheapest_method(rows, plans, 0, model);
    double least = std::numeric_limits<double>::infinity();
    for (const ContextMethod method : kAll)
      least = std::min(least, cost_of(method, rows, plans, 0, model).seconds);
    EXPECT_EQ(cheapest.seconds, least);
    const MethodCost its = cost_of(cheapest.method, rows, plans, 0, model);
    EXPECT_EQ(its.seconds, least);
    EXPECT_EQ(its.received_bytes, cheapest.received_bytes);
    EXPECT_EQ(its.imbalance, cheapest.imbalance);
    ++chosen[static_cast<size_t>(cheapest.method)];
  });
  // Each of them is the least somewhere, so that a method left out would have been missed.
  for (const ContextMethod method : kAll)
    EXPECT_GT(chosen[static_cast<size_t>(method)], 0) << name_of(method);
}

TEST(PairsByRanks, AreQueriesDownAndKeysAcross) {
  const HeadTailOfTwoDocuments example;
  // Rank 0: queries 0 and 1 see 3 own pairs, 6 and 7 see 3 own and 4 of rank 1. Rank 1: queries 2
  // and 3 see 4 of rank 0 and 3 own, 4 and 5 see 3 own.
  EXPECT_THAT(pairs_by_ranks(*example.row.masks[0].row, example.plan), ElementsAre(6, 4, 4, 6));
  const ContextRow causal = row_of({7}, "causal");
  EXPECT_THAT(pairs_by_ranks(*causal.masks[0].row, {{{{0, 4}}, {{4, 7}}}}),
              ElementsAre(10, 0, 12, 6));
}

}  // namespace
}  // namespace coeus
