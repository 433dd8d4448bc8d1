// Which tokens of a row each rank owns under context parallelism.
#pragma once

#include <cstdint>
#include <vector>

#include "coeus/mask/token_runs.h"

namespace coeus {

/// A row's tokens dealt to ranks. Each rank stores its tokens in the order of the row, so a plan is
/// a partition, and the ranks' tokens one after another are a permutation of the row.
struct ContextPlan {
  std::vector<TokenRuns> ranks;

  int64_t rank_count() const { return static_cast<int64_t>(ranks.size()); }
  /// How many tokens each rank has.
  std::vector<int64_t> counts() const;
  /// The same for equal plans, and for others almost never.
  uint64_t hash() const;

  bool operator==(const ContextPlan&) const = default;
};

/// `tokens` in as equal shares as there are: the first ranks have one more where they do not
/// divide.
std::vector<int64_t> even_counts(int64_t tokens, int64_t ranks);

/// One piece of the row a rank, in order, of so many tokens each; all at least 1.
ContextPlan pieces_of(const std::vector<int64_t>& counts);

/// Throws Error unless the plan deals each of `tokens` tokens to exactly one rank, as many to each
/// as `counts` says.
void check_plan(const ContextPlan& plan, int64_t tokens, const std::vector<int64_t>& counts);

}  // namespace coeus
