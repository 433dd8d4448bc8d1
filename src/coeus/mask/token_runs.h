// Sets of places as runs: what a rank owns of a row, and which keys its queries see.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coeus/mask/block_mask.h"

namespace coeus {

/// Places [begin, end) of a row.
struct TokenRun {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool operator==(const TokenRun&) const = default;
};

/// Runs that are ascending, apart and not empty: each set of places has one such list.
using TokenRuns = std::vector<TokenRun>;

/// The places that are in any of `runs`, which may stand in any order, touch and overlap.
TokenRuns united(std::vector<TokenRun> runs);
/// The places that are in both.
TokenRuns intersection(const TokenRuns& a, const TokenRuns& b);
/// How many places there are.
int64_t count(const TokenRuns& runs);
/// All places, ascending.
std::vector<int64_t> places(const TokenRuns& runs);
/// The runs that the given places make, which must be ascending.
TokenRuns runs_of(std::span<const int32_t> ascending);

/// The keys of a lowered row that at least one of the given queries sees, as stored. Takes
/// O(queries) for masks of intervals whose keys are stored in order, else O(their elements).
TokenRuns keys_seen(const BlockMaskRow& row, const TokenRuns& queries);

}  // namespace coeus
