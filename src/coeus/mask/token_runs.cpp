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

/// Whether each of the ranges [begin[i], end[i]) is not empty and touches the one before it. One
/// loop without branches, since nearly all do.
bool touch_one_another(const int32_t* begin, const int32_t* end, int64_t count) {
  int32_t apart = begin[0] >= end[0];
  for (int64_t i = 1; i < count; ++i)
    apart |= (begin[i] > end[i - 1]) | (end[i] < begin[i - 1]) | (begin[i] >= end[i]);
  return apart == 0;
}

TokenRuns seen_by_intervals(const BlockMaskRow& row, const TokenRuns& queries) {
  constexpr int64_t kAtOnce = 256;
  TokenRuns seen;
  for (int64_t slot = 0; slot < row.interval_count; ++slot) {
    const int32_t* const begin = row.interval_begin.data() + slot * row.query_length;
    const int32_t* const end = row.interval_end.data() + slot * row.query_length;
    for (const TokenRun& run : queries) {
      for (int64_t q = run.begin; q < run.end; q += kAtOnce) {
        const int64_t last = std::min(q + kAtOnce, run.end);
        if (touch_one_another(begin + q, end + q, last - q)) {
          append(seen, {*std::min_element(begin + q, begin + last),
                        *std::max_element(end + q, end + last)});
        } else {
          for (int64_t i = q; i < last; ++i) append(seen, {begin[i], end[i]});
        }
      }
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
  for (size_t begin = 0; begin < ascending.size();) {
    size_t end = begin + 1;
    while (end < ascending.size() && ascending[end] == ascending[end - 1] + 1) ++end;
    runs.push_back({ascending[begin], ascending[end - 1] + 1});
    begin = end;
  }
  return runs;
}

TokenRuns keys_seen(const BlockMaskRow& row, const TokenRuns& queries) {
  return row.interval_count > 0 && row.key_ranks.empty() ? seen_by_intervals(row, queries)
                                                         : seen_by_elements(row, queries);
}

}  // namespace coeus
