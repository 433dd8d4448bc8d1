#include "coeus/parallel/context/plan/balancer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/base/random.h"
#include "coeus/mask/lower.h"
#include "coeus/parallel/context/plan/context_cost.h"
#include "coeus/parallel/context/plan/even_layers.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr Balancer kAll[] = {Balancer::kNone, Balancer::kHeadTail, Balancer::kPerDocument,
                             Balancer::kPtrr, Balancer::kJoint};

struct MaskOfLayers {
  const char* mask;
  int64_t layers;
};

ContextRow row_of(const std::vector<int64_t>& documents, const std::vector<MaskOfLayers>& masks) {
  const auto layout = SequenceLayout::from_document_lengths(documents);
  std::vector<LayersMask> lowered;
  for (const auto& [mask, layers] : masks)
    lowered.push_back({mask, lower_row(parse_mask(mask), layout), layers});
  return {layout, std::move(lowered)};
}

ContextRow causal_row(int64_t tokens) { return row_of({tokens}, {{"causal", 1}}); }

ContextPlan plan_of(const ContextRow& row, Balancer balancer, int64_t ranks) {
  return balance(row, {.balancer = balancer, .ranks = ranks});
}

TEST(BalancerName, ReadsBack) {
  for (const Balancer balancer : kAll) EXPECT_EQ(balancer_from_name(name_of(balancer)), balancer);
  EXPECT_EQ(name_of(Balancer::kPerDocument), "per_document");
}

TEST(BalancerName, WhenUnknownIsRefusedWithTheRightOnes) {
  EXPECT_THAT([] { balancer_from_name("zigzag"); },
              ThrowsMessage<ConfigError>(AllOf(
                  HasSubstr("parallelism.context_parallel_load_balancer"), HasSubstr("\"zigzag\""),
                  HasSubstr("none, headtail, per_document, ptrr or joint"))));
}

TEST(Balance, RefusesFewerTokensThanRanks) {
  for (const Balancer balancer : kAll) {
    EXPECT_NO_THROW(plan_of(causal_row(3), balancer, 3));
    EXPECT_THAT([&] { plan_of(causal_row(3), balancer, 4); },
                ThrowsMessage<ConfigError>(AllOf(
                    HasSubstr("parallelism.context_parallel_degree = 4"), HasSubstr("3 tokens"))))
        << name_of(balancer);
  }
}

TEST(Balance, RefusesOptionsOutOfRange) {
  const ContextRow row = causal_row(12);
  for (const double slack : {-0.01, 1.0, std::nan("")})
    EXPECT_THAT([&] { balance(row, {.ranks = 2, .slack = slack}); },
                ThrowsMessage<Error>(HasSubstr("slack")));
  EXPECT_THAT([&] { balance(row, {.balancer = Balancer::kHeadTail, .ranks = 2, .slack = 0.1}); },
              ThrowsMessage<Error>(HasSubstr("headtail deals equal shares")));
  for (const int64_t ranks : {0, -1})
    EXPECT_THAT([&] { balance(row, {.ranks = ranks}); },
                ThrowsMessage<Error>(HasSubstr("at least one rank")));
  const std::vector<std::vector<int64_t>> wrong = {{},        {12},    {6, 5},  {6, 7},
                                                   {4, 4, 4}, {12, 0}, {13, -1}};
  for (const std::vector<int64_t>& counts : wrong)
    EXPECT_THAT([&] { balance(row, {.ranks = 2, .counts = counts}); },
                ThrowsMessage<Error>(AllOf(HasSubstr(fmt::format("{}", fmt::join(counts, ", "))),
                                           HasSubstr("12 tokens to 2 ranks"))));
}

TEST(Balance, NeedsNoMask) {
  const ContextRow row(SequenceLayout::from_document_lengths(std::vector<int64_t>{5, 6}), {});
  for (const Balancer balancer : kAll)
    EXPECT_NO_THROW(check_plan(plan_of(row, balancer, 3), 11, even_counts(11, 3)));
}

TEST(Balance, OfOneRankGivesItEverything) {
  for (const Balancer balancer : kAll)
    EXPECT_THAT(plan_of(row_of({5, 1, 7}, {{"causal & document", 2}}), balancer, 1).ranks,
                ElementsAre(TokenRuns{{0, 13}}));
}

TEST(None, CutsTheRowRankAfterRank) {
  EXPECT_THAT(
      plan_of(causal_row(11), Balancer::kNone, 4).ranks,
      ElementsAre(TokenRuns{{0, 3}}, TokenRuns{{3, 6}}, TokenRuns{{6, 9}}, TokenRuns{{9, 11}}));
}

TEST(HeadTail, IsPyTorchsChunksWhereTheyDivide) {
  for (const int64_t ranks : {1, 2, 3, 4, 8, 64}) {
    for (const int64_t chunk : {1, 5, 128}) {
      const ContextPlan plan = plan_of(causal_row(2 * ranks * chunk), Balancer::kHeadTail, ranks);
      for (int64_t r = 0; r < ranks; ++r) {
        const int64_t tail = 2 * ranks - 1 - r;
        EXPECT_EQ(plan.ranks[r],
                  united({{r * chunk, (r + 1) * chunk}, {tail * chunk, (tail + 1) * chunk}}))
            << "rank " << r << " of " << ranks << ", chunks of " << chunk;
      }
    }
  }
}

TEST(HeadTail, GivesChunksThatDifferByATokenWhereTheyDoNotDivide) {
  // 4, 4 and 3 tokens: heads of 2, 2, 2, then tails of 1, 2 and 2 from the last rank to the first.
  EXPECT_THAT(
      plan_of(causal_row(11), Balancer::kHeadTail, 3).ranks,
      ElementsAre(TokenRuns{{0, 2}, {9, 11}}, TokenRuns{{2, 4}, {7, 9}}, TokenRuns{{4, 7}}));
}

TEST(PerDocument, DealsEveryDocumentEvenly) {
  const std::vector<int64_t> documents = {1, 40, 7, 2, 2, 96, 3, 64, 5, 13};
  const ContextRow row = row_of(documents, {{"causal & document", 1}});
  for (const int64_t ranks : {2, 3, 4, 7}) {
    const ContextPlan plan = plan_of(row, Balancer::kPerDocument, ranks);
    check_plan(plan, row.tokens(), even_counts(row.tokens(), ranks));
    int64_t begin = 0;
    for (const int64_t length : documents) {
      for (const TokenRuns& runs : plan.ranks) {
        const int64_t share = count(intersection(runs, {{begin, begin + length}}));
        EXPECT_THAT(share, ::testing::AnyOf(length / ranks, (length + ranks - 1) / ranks))
            << "of the document at " << begin << " with " << ranks << " ranks";
      }
      begin += length;
    }
  }
}

TEST(PerDocument, IsHeadTailWithinEachDocument) {
  EXPECT_THAT(plan_of(row_of({8, 4}, {{"causal & document", 1}}), Balancer::kPerDocument, 2).ranks,
              ElementsAre(TokenRuns{{0, 2}, {6, 9}, {11, 12}}, TokenRuns{{2, 6}, {9, 11}}));
  // What a document leaves over goes to the rank that is due.
  EXPECT_THAT(
      plan_of(row_of({1, 1, 3}, {{"causal & document", 1}}), Balancer::kPerDocument, 2).ranks,
      ElementsAre(TokenRuns{{0, 1}, {2, 3}, {4, 5}}, TokenRuns{{1, 2}, {3, 4}}));
}

TEST(Ptrr, DealsBlocksByWhatTheySeeToAndFro) {
  // Four blocks of 4 see 1, 2, 3 and 4 blocks: the last to rank 0, the next two to rank 1.
  EXPECT_THAT(plan_of(causal_row(16), Balancer::kPtrr, 2).ranks,
              ElementsAre(TokenRuns{{0, 4}, {12, 16}}, TokenRuns{{4, 12}}));
  // In two documents they see 1, 2, 1 and 2; equal ones in the order of the row.
  EXPECT_THAT(plan_of(row_of({8, 8}, {{"causal & document", 1}}), Balancer::kPtrr, 2).ranks,
              ElementsAre(TokenRuns{{4, 12}}, TokenRuns{{0, 4}, {12, 16}}));
}

TEST(Ptrr, TakesBlocksOf128TokensInLongRows) {
  // Eight blocks by what they see: 7, 6 | 5, 4 | 3, 2 | 1, 0, the pairs in turns to and fro.
  EXPECT_THAT(
      plan_of(causal_row(1024), Balancer::kPtrr, 2).ranks,
      ElementsAre(TokenRuns{{0, 128}, {384, 640}, {896, 1024}}, TokenRuns{{128, 384}, {640, 896}}));
}

TEST(Ptrr, SharesABlockThatDoesNotFit) {
  // Blocks of 2 tokens, the last of 1, in turns 5 | 4, 3 | 2, 1 | 0. For block 0 rank 1 has room
  // for one token only, and rank 0 takes the other.
  EXPECT_THAT(plan_of(causal_row(11), Balancer::kPtrr, 2).ranks,
              ElementsAre(TokenRuns{{1, 6}, {10, 11}}, TokenRuns{{0, 1}, {6, 10}}));
}

TEST(Ptrr, LooksOnlyAtTheMaskOfTheMostLayers) {
  const std::vector<int64_t> documents = {300, 41, 700, 90, 893};
  const ContextRow by_window = row_of(documents, {{"causal & sliding_window(64)", 5}});
  const ContextRow by_causal = row_of(documents, {{"causal & document", 1}});
  const ContextRow both =
      row_of(documents, {{"causal & document", 1}, {"causal & sliding_window(64)", 5}});
  const ContextPlan plan = plan_of(both, Balancer::kPtrr, 4);
  EXPECT_EQ(plan, plan_of(by_window, Balancer::kPtrr, 4));
  EXPECT_NE(plan, plan_of(by_causal, Balancer::kPtrr, 4));
}

TEST(Joint, IsAsEvenAsCanBeOnOneDocument) {
  const ContextRow row = causal_row(4096);
  for (const int64_t ranks : {2, 3, 4, 8}) {
    const ContextPlan plan = plan_of(row, Balancer::kJoint, ranks);
    EXPECT_LE(load_of(row, plan).imbalance(), 1.01) << ranks;
  }
}

TEST(Joint, LeavesWholeDocumentsWhereTheyAre) {
  // Each rank's share is one document: even, and nothing to exchange.
  const ContextRow row = row_of({512, 512, 512, 512}, {{"causal & document", 3}});
  EXPECT_EQ(plan_of(row, Balancer::kJoint, 4), plan_of(row, Balancer::kNone, 4));
}

TEST(Joint, HasTheCountsItIsGiven) {
  const ContextRow row = row_of({100, 27, 300, 5, 80}, {{"causal & document", 1}, {"causal", 2}});
  const std::vector<std::vector<int64_t>> given = {
      {128, 128, 128, 128}, {509, 1, 1, 1}, {1, 100, 400, 11}};
  for (const std::vector<int64_t>& counts : given) {
    const ContextPlan plan = balance(row, {.ranks = 4, .counts = counts});
    EXPECT_NO_THROW(check_plan(plan, 512, counts));
  }
  // With a slack as well.
  const ContextPlan plan = balance(row, {.ranks = 4, .slack = 0.5, .counts = given[2]});
  EXPECT_EQ(plan.counts(), given[2]);
}

TEST(Joint, WithSlackSavesKeys) {
  // At equal counts documents are cut where the cuts cost keys.
  const ContextRow row = row_of({600, 424, 600, 424}, {{"causal & document", 1}});
  const PlanLoad even = load_of(row, balance(row, {.ranks = 4}));
  const ContextPlan plan = balance(row, {.ranks = 4, .slack = 0.3});
  const PlanLoad slack = load_of(row, plan);
  EXPECT_NE(plan.counts(), even_counts(2048, 4));
  EXPECT_LE(slack.most_work(), even.most_work());
  EXPECT_LT(slack.all_received(), even.all_received());
}

// Equal shares are then the only ones, though none of them lies within the slack of the mean.
TEST(Joint, WithLessSlackThanATokenDealsEvenly) {
  const struct {
    std::vector<int64_t> documents;
    int64_t ranks;
    double slack;
  } cases[] = {{{2, 2}, 3, 0.01}, {{3, 2}, 4, 0.1}, {{4, 3}, 3, 0.01}, {{4, 3}, 5, 0.25}};
  for (const auto& [documents, ranks, slack] : cases) {
    for (const char* const mask : {"full", "causal", "causal & document"}) {
      const ContextRow row = row_of(documents, {{mask, 1}});
      std::vector<int64_t> counts = balance(row, {.ranks = ranks, .slack = slack}).counts();
      std::sort(counts.rbegin(), counts.rend());
      EXPECT_EQ(counts, even_counts(row.tokens(), ranks)) << mask << " with " << ranks << " ranks";
    }
  }
}

/// Documents of exponential lengths, as packing leaves them: the last one is cut.
std::vector<int64_t> exponential_documents(int64_t tokens, double mean) {
  const CounterRandom random(1, "document lengths");
  std::vector<int64_t> lengths;
  for (int64_t begin = 0; begin < tokens; begin += lengths.back()) {
    const double drawn = -mean * std::log(random.uniform(lengths.size()));
    lengths.push_back(std::clamp<int64_t>(std::llround(drawn), 1, tokens - begin));
  }
  return lengths;
}

ContextRow mix(const std::vector<MaskOfLayers>& masks) {
  return row_of(exponential_documents(131072, 2048), masks);
}

ContextRow packed_mix() { return mix({{"causal & document", 1}}); }
/// Llama 4: three layers of four attend within chunks.
ContextRow irope_mix() {
  return mix({{"causal & document & chunk(8192)", 36}, {"causal & document", 12}});
}
/// Five layers of six attend within a window.
ContextRow window_mix() {
  return mix({{"sliding_window(1024) & causal & document", 5}, {"causal & document", 1}});
}

TEST(Mixes, AreEvenUnderJoint) {
  const struct {
    const char* name;
    ContextRow row;
  } mixes[] = {{"packed", packed_mix()}, {"irope", irope_mix()}, {"window", window_mix()}};
  for (const auto& [name, row] : mixes) {
    for (const int64_t ranks : {8, 64}) {
      const ContextPlan plan = plan_of(row, Balancer::kJoint, ranks);
      check_plan(plan, row.tokens(), even_counts(row.tokens(), ranks));
      EXPECT_LE(load_of(row, plan).imbalance(), 1.05) << name << ", " << ranks << " ranks";
      // And so is each layer, or nearly.
      const double mean = static_cast<double>(row.work()) / static_cast<double>(ranks);
      EXPECT_LE(static_cast<double>(layered_work(row, plan)), 1.05 * mean)
          << name << ", " << ranks << " ranks";
    }
  }
}

int64_t sum(const std::vector<int64_t>& values) {
  int64_t sum = 0;
  for (const int64_t value : values) sum += value;
  return sum;
}

TEST(Mixes, ExchangeAQuarterOfAllKeysWhereDocumentsAreShort) {
  const std::vector<ContextRow> row = {packed_mix()};
  for (const Balancer balancer : {Balancer::kNone, Balancer::kJoint}) {
    const std::vector<ContextPlan> plan = {plan_of(row[0], balancer, 8)};
    const MethodCost needed = cost_of(ContextMethod::kNeeded, row, plan, 0, {});
    const MethodCost all = cost_of(ContextMethod::kAllGather, row, plan, 0, {});
    EXPECT_LE(4 * sum(needed.received_bytes), sum(all.received_bytes)) << name_of(balancer);
  }
}

}  // namespace
}  // namespace coeus
