#include "coeus/mask/token_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <vector>

#include "coeus/mask/lower.h"
#include "coeus/mask/random_case.h"

namespace coeus {
namespace {

using testing::draw;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::Random;
using testing::RandomCase;

using Places = std::set<int64_t>;

/// Runs in any order, some of them empty, touching or overlapping, in [0, length).
std::vector<TokenRun> random_runs(Random& random, int64_t length) {
  std::vector<TokenRun> runs(draw(random, 0, 12));
  for (TokenRun& run : runs) {
    run.begin = draw(random, 0, length);
    const int64_t most = draw(random, 0, 3) == 0 ? length : length / 4;
    run.end = draw(random, run.begin, std::min(length, run.begin + most));
  }
  return runs;
}

Places set_of(const std::vector<TokenRun>& runs) {
  Places set;
  for (const TokenRun& run : runs)
    for (int64_t place = run.begin; place < run.end; ++place) set.insert(place);
  return set;
}

/// The one list of ascending runs, apart and not empty, that a set has.
TokenRuns runs_of_set(const Places& set) {
  TokenRuns runs;
  for (const int64_t place : set) {
    if (runs.empty() || runs.back().end != place) runs.push_back({place, place});
    ++runs.back().end;
  }
  return runs;
}

TEST(TokenRuns, UnitedJoinsRunsThatTouchOrOverlapAndDropsEmptyOnes) {
  EXPECT_THAT(united({{7, 9}, {0, 2}, {2, 4}, {5, 5}, {8, 12}, {9, 10}}),
              ElementsAre(TokenRun{0, 4}, TokenRun{7, 12}));
  EXPECT_THAT(united({{3, 3}}), IsEmpty());
  EXPECT_THAT(united({}), IsEmpty());
}

TEST(TokenRuns, OperationsAreThoseOfSets) {
  Random random(3);
  for (int i = 0; i < 3000; ++i) {
    const int64_t length = draw(random, 0, 60);
    const auto any_a = random_runs(random, length);
    const auto any_b = random_runs(random, length);
    const Places set_a = set_of(any_a);
    const Places set_b = set_of(any_b);
    const TokenRuns a = united(any_a);
    const TokenRuns b = united(any_b);
    ASSERT_EQ(a, runs_of_set(set_a));
    ASSERT_EQ(count(a), static_cast<int64_t>(set_a.size()));
    ASSERT_EQ(places(a), std::vector<int64_t>(set_a.begin(), set_a.end()));
    ASSERT_EQ(runs_of(std::vector<int32_t>(set_a.begin(), set_a.end())), a);
    Places both;
    std::set_intersection(set_a.begin(), set_a.end(), set_b.begin(), set_b.end(),
                          std::inserter(both, both.end()));
    ASSERT_EQ(intersection(a, b), runs_of_set(both)) << "case " << i;
  }
}

TokenRuns keys_seen_in(const std::vector<uint8_t>& dense, const BlockMaskRow& row,
                       const TokenRuns& queries) {
  std::vector<uint8_t> sees(row.key_length);
  for (const int64_t q : places(queries))
    for (int64_t k = 0; k < row.key_length; ++k) sees[k] |= dense[q * row.key_length + k];
  Places seen;
  for (int64_t k = 0; k < row.key_length; ++k)
    if (sees[k] != 0) seen.insert(k);
  return runs_of_set(seen);
}

/// keys_seen of all queries, of none, and of some random ones, against the dense mask.
void check_keys_seen(const RandomCase& test, Random& random) {
  const BlockMask mask = lower(test.mask, std::vector{test.layout()}, test.options);
  const BlockMaskRow& row = mask.row(0);
  const std::vector<uint8_t> dense = mask.to_dense(0);
  std::vector<TokenRuns> chosen = {{}, united({{0, row.query_length}})};
  for (int i = 0; i < 4; ++i) chosen.push_back(united(random_runs(random, row.query_length)));
  for (const TokenRuns& queries : chosen)
    ASSERT_EQ(keys_seen(row, queries), keys_seen_in(dense, row, queries)) << test.to_code();
}

TEST(KeysSeen, AreThoseOfTheDenseMask) {
  for (int i = 0; i < 600; ++i) {
    Random random(9000 + i);
    RandomCase test = testing::random_layout(random, i % 30 == 0 ? 1000 : i % 8 == 0 ? 300 : 90);
    test.mask = testing::random_mask(random, test.tokens.size(), 4);
    check_keys_seen(test, random);
    if (HasFatalFailure()) return;
  }
}

/// A row of packed documents, its queries and keys in order.
RandomCase packed(const std::vector<int64_t>& documents) {
  RandomCase test;
  test.tokens = *SequenceLayout::from_document_lengths(documents).query();
  for (int64_t place = 0; place < test.tokens.size(); ++place) {
    test.query_places.push_back(place);
    test.key_places.push_back(place);
  }
  return test;
}

// The random expressions above meet every form that a lowered mask may have; these do so for sure.
TEST(KeysSeen, AreThoseOfTheDenseMaskInEveryForm) {
  const struct {
    const char* mask;
    int64_t intervals;
  } forms[] = {{"causal & document", 1},
               {"causal & document & (sink(2) | sliding_window(3))", 2},
               {"causal & dilated(3)", 0}};
  Random random(5);
  for (const auto& form : forms) {
    RandomCase test = packed({40, 3, 57});
    test.options = {16, 16};
    test.mask = parse_mask(form.mask);
    for (const bool shuffled : {false, true}) {
      if (shuffled) std::shuffle(test.key_places.begin(), test.key_places.end(), random);
      const auto row = lower_row(test.mask, test.layout(), test.options);
      ASSERT_EQ(row->interval_count, form.intervals) << form.mask;
      ASSERT_EQ(row->key_ranks.empty(), !shuffled || form.intervals == 0) << form.mask;
      for (int i = 0; i < 20; ++i) check_keys_seen(test, random);
      if (HasFatalFailure()) return;
    }
  }
}

// Hundreds of queries in a row, whose keys are one run or leave gaps here and there.
TEST(KeysSeen, OfLongRunsOfQueriesAreThoseOfTheDenseMask) {
  const char* const masks[] = {"causal & document",
                               "document",
                               "causal & sliding_window(40)",
                               "causal & document & chunk(97)",
                               "~causal & sliding_window(1, 3)",
                               "document & ~sliding_window(250, 250)",
                               "causal & document & (sink(3) | sliding_window(30))",
                               "prefix(10) & ~chunk(300)",
                               "document & prefix(600)"};
  Random random(11);
  for (const char* const mask : masks) {
    for (const std::vector<int64_t>& lengths :
         {std::vector<int64_t>{1200}, {256, 1, 700, 3, 240}, {20, 30, 700, 13, 17, 400, 20}}) {
      RandomCase test = packed(lengths);
      test.mask = parse_mask(mask);
      check_keys_seen(test, random);
      // Queries out of order see runs of keys that lie apart.
      std::rotate(test.query_places.begin() + 100, test.query_places.begin() + 130,
                  test.query_places.begin() + 900);
      std::swap(test.query_places[1000], test.query_places[5]);
      check_keys_seen(test, random);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(KeysSeen, AreCountedAsStoredWhereKeysAreOutOfOrder) {
  RandomCase test = packed({6});
  test.key_places = {5, 3, 1, 0, 2, 4};
  const auto row = lower_row(mask::causal() & mask::sliding_window(2), test.layout(), {4, 4});
  ASSERT_FALSE(row->key_ranks.empty());
  // Query 3 sees tokens 2 and 3, which are the keys stored at 4 and 1.
  EXPECT_THAT(keys_seen(*row, {{3, 4}}), ElementsAre(TokenRun{1, 2}, TokenRun{4, 5}));
  EXPECT_THAT(keys_seen(*row, {{0, 1}, {4, 6}}),
              ElementsAre(TokenRun{0, 2}, TokenRun{3, 4}, TokenRun{5, 6}));
}

}  // namespace
}  // namespace coeus
