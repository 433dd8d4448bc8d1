#include "coeus/mask/token_runs.h"

#include <algorithm>

namespace coeus {
namespace {

/// Appends a run, joined to the last where they touch or overlap.
void append(TokenRuns& runs, TokenRun run) {
  if (run.begin >= run.end) return;
  if (!runs.empty() && run.begin <= runs.back().end && run.end >= runs.back().begin) {
    runs.back().begin = std::min(runs.back().begin, run.begin);
    runs.back().end = std::max(runs.back().end, run.end);
    return;
  }
  runs.push_back(run);
}

TokenRuns seen_by_intervals(const BlockMaskRow& row, const TokenRuns& queries) {
  TokenRuns seen;
  for (int64_t slot = 0; slot < row.interval_count; ++slot) {
    const int32_t* const begin = row.interval_begin.data() + slot * row.query_length;
    const int32_t* const end = row.interval_end.data() + slot * row.query_length;
    for (const TokenRun& run : queries) {
      for (int64_t q = run.begin; q < run.end; ++q) append(seen, {begin[q], end[q]});
    }
  }
  return united(std::move(seen));
}

/// Keys of any order and any mask, one by one.
TokenRuns seen_by_elements(const BlockMaskRow& row, const TokenRuns& queries) {
  std::vector<uint8_t> seen(row.key_length);
  const TileLists& lists = row.by_query;
  const auto mark_tile = [&](int64_t q, int32_t tile, int64_t entry) {
    const int64_t first = tile * row.tile_k;
    const int64_t last = std::min(first + row.tile_k, row.key_length);
    for (int64_t k = first; k < last; ++k) {
      if (entry < 0) {
        seen[k] = 1;
      } else if (row.interval_count > 0) {
        seen[k] |= static_cast<uint8_t>(row.intervals_hold(q, k));
      } else {
        const int64_t line = entry * row.tile_q + q % row.tile_q;
        const uint64_t word = row.bits[line * row.words_per_row() + (k - first) / 64];
        seen[k] |= (word >> ((k - first) % 64)) & 1;
      }
    }
  };
  for (const TokenRun& run : queries) {
    for (int64_t q = run.begin; q < run.end; ++q) {
      const int64_t tile = q / row.tile_q;
      // A full tile shows the same to all of its queries: once is enough.
      if (q == run.begin || q % row.tile_q == 0) {
        for (int64_t j = lists.full_offsets[tile]; j < lists.full_offsets[tile + 1]; ++j) {
          for (int32_t k = lists.full_ranges[2 * j]; k < lists.full_ranges[2 * j + 1]; ++k)
            mark_tile(q, k, -1);
        }
      }
      for (int64_t j = lists.partial_offsets[tile]; j < lists.partial_offsets[tile + 1]; ++j)
        mark_tile(q, lists.partial_tiles[j], j);
    }
  }
  TokenRuns runs;
  for (int64_t k = 0; k < row.key_length; ++k) {
    if (seen[k] != 0) append(runs, {k, k + 1});
  }
  return runs;
}

}  // namespace

TokenRuns united(std::vector<TokenRun> runs) {
  const auto by_begin = [](const TokenRun& a, const TokenRun& b) { return a.begin < b.begin; };
  if (!std::is_sorted(runs.begin(), runs.end(), by_begin)) {
    std::sort(runs.begin(), runs.end(), by_begin);
  }
  TokenRuns joined;
  for (const TokenRun& run : runs) append(joined, run);
  return joined;
}

TokenRuns intersection(const TokenRuns& a, const TokenRuns& b) {
  TokenRuns both;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    append(both, {std::max(a[i].begin, b[j].begin), std::min(a[i].end, b[j].end)});
    (a[i].end < b[j].end ? i : j) += 1;
  }
  return both;
}

int64_t count(const TokenRuns& runs) {
  int64_t sum = 0;
  for (const TokenRun& run : runs) sum += run.size();
  return sum;
}

std::vector<int64_t> places(const TokenRuns& runs) {
  std::vector<int64_t> all;
  all.reserve(count(runs));
  for (const TokenRun& run : runs) {
    for (int64_t place = run.begin; place < run.end; ++place) all.push_back(place);
  }
  return all;
}

TokenRuns runs_of(std::span<const int32_t> ascending) {
  TokenRuns runs;
  for (const int32_t place : ascending) append(runs, {place, place + 1});
  return runs;
}

TokenRuns keys_seen(const BlockMaskRow& row, const TokenRuns& queries) {
  return row.interval_count > 0 && row.key_ranks.empty() ? seen_by_intervals(row, queries)
                                                         : seen_by_elements(row, queries);
}

}  // namespace coeus
