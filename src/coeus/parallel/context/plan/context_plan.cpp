#include "coeus/parallel/context/plan/context_plan.h"

#include <fmt/ranges.h>

#include "coeus/base/error.h"
#include "coeus/base/random.h"

namespace coeus {

std::vector<int64_t> ContextPlan::counts() const {
  std::vector<int64_t> counts;
  for (const TokenRuns& runs : ranks) counts.push_back(count(runs));
  return counts;
}

uint64_t ContextPlan::hash() const {
  uint64_t hash = ranks.size();
  const auto add = [&](int64_t value) {
    hash = mix64(hash ^ (static_cast<uint64_t>(value) + kGoldenGamma));
  };
  for (const TokenRuns& runs : ranks) {
    add(static_cast<int64_t>(runs.size()));
    for (const TokenRun& run : runs) {
      add(run.begin);
      add(run.end);
    }
  }
  return hash;
}

std::vector<int64_t> even_counts(int64_t tokens, int64_t ranks) {
  std::vector<int64_t> counts(ranks, tokens / ranks);
  for (int64_t rank = 0; rank < tokens % ranks; ++rank) ++counts[rank];
  return counts;
}

ContextPlan pieces_of(const std::vector<int64_t>& counts) {
  ContextPlan plan;
  int64_t begin = 0;
  for (const int64_t count : counts) {
    plan.ranks.push_back({{begin, begin + count}});
    begin += count;
  }
  return plan;
}

void check_plan(const ContextPlan& plan, int64_t tokens, const std::vector<int64_t>& counts) {
  COEUS_CHECK(plan.counts() == counts, "[ContextPlan] ranks have {} tokens, and {} were promised",
              fmt::join(plan.counts(), ", "), fmt::join(counts, ", "));
  std::vector<TokenRun> all;
  for (const TokenRuns& runs : plan.ranks) all.insert(all.end(), runs.begin(), runs.end());
  const TokenRuns whole = united(all);
  const bool covers = tokens == 0 ? whole.empty() : whole == TokenRuns{{0, tokens}};
  int64_t sum = 0;
  for (const TokenRun& run : all) sum += run.size();
  COEUS_CHECK(covers && sum == tokens,
              "[ContextPlan] deals {} tokens, some twice or not at all, of a row of {}", sum,
              tokens);
}

}  // namespace coeus
