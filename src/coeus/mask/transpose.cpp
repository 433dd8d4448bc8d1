#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/row_builder.h"

namespace coeus {
namespace {

struct Stretch {
  int32_t tile;
  int32_t begin;
  int32_t end;
};

/// Calls `visit(tile)` for the tiles of ranges a that are in none of ranges b; both are flat lists
/// of (begin, end), ascending and disjoint.
template <typename Visit>
void for_each_without(const int32_t* a, const int32_t* a_end, const int32_t* b,
                      const int32_t* b_end, Visit visit) {
  for (; a != a_end; a += 2) {
    int32_t tile = a[0];
    while (tile < a[1]) {
      while (b != b_end && b[1] <= tile) b += 2;
      if (b != b_end && b[0] <= tile) {
        tile = b[1];
        continue;
      }
      const int32_t stop = b == b_end ? a[1] : std::min(a[1], b[0]);
      for (; tile < stop; ++tile) visit(tile);
    }
  }
}

/// Turns counts of entries, one place further on, into offsets.
void sum_up(std::vector<int32_t>& offsets) {
  int64_t sum = 0;
  for (int32_t& offset : offsets) {
    sum += offset;
    offset = static_cast<int32_t>(sum);
  }
  COEUS_ASSERT(sum <= std::numeric_limits<int32_t>::max());
}

/// The full tiles. A sweep over the tiles here: only tiles there that begin or cease to be full
/// from one to the next are looked at, which is as much work as the result has ranges.
void transpose_full(const TileLists& lists, int64_t other_tiles, TileLists& result) {
  const auto tiles = static_cast<int32_t>(lists.full_offsets.size()) - 1;
  const auto ranges_at = [&](int32_t tile) {
    return lists.full_ranges.data() + 2 * int64_t{lists.full_offsets[tile]};
  };
  std::vector<int32_t> full_since(other_tiles);
  std::vector<Stretch> stretches;
  const int32_t* before = lists.full_ranges.data();
  const int32_t* before_end = before;
  for (int32_t tile = 0; tile <= tiles; ++tile) {
    const bool is_past = tile == tiles;
    const int32_t* const now = is_past ? before_end : ranges_at(tile);
    const int32_t* const now_end = is_past ? before_end : ranges_at(tile + 1);
    for_each_without(before, before_end, now, now_end, [&](int32_t other) {
      stretches.push_back({other, full_since[other], tile});
    });
    for_each_without(now, now_end, before, before_end,
                     [&](int32_t other) { full_since[other] = tile; });
    before = now;
    before_end = now_end;
  }
  result.full_offsets.assign(other_tiles + 1, 0);
  for (const Stretch& stretch : stretches) ++result.full_offsets[stretch.tile + 1];
  sum_up(result.full_offsets);
  std::vector<int32_t> next(result.full_offsets.begin(), result.full_offsets.end() - 1);
  result.full_ranges.resize(2 * stretches.size());
  for (const Stretch& stretch : stretches) {
    const int64_t at = 2 * int64_t{next[stretch.tile]++};
    result.full_ranges[at] = stretch.begin;
    result.full_ranges[at + 1] = stretch.end;
  }
}

void transpose_partial(const TileLists& lists, int64_t other_tiles, TileLists& result,
                       std::vector<int32_t>& entries) {
  const auto tiles = static_cast<int32_t>(lists.partial_offsets.size()) - 1;
  result.partial_offsets.assign(other_tiles + 1, 0);
  for (const int32_t other : lists.partial_tiles) ++result.partial_offsets[other + 1];
  sum_up(result.partial_offsets);
  std::vector<int32_t> next(result.partial_offsets.begin(), result.partial_offsets.end() - 1);
  result.partial_tiles.resize(lists.partial_tiles.size());
  entries.resize(lists.partial_tiles.size());
  for (int32_t tile = 0; tile < tiles; ++tile) {
    for (int32_t e = lists.partial_offsets[tile]; e < lists.partial_offsets[tile + 1]; ++e) {
      const int32_t at = next[lists.partial_tiles[e]]++;
      result.partial_tiles[at] = tile;
      entries[at] = e;
    }
  }
}

}  // namespace

TileLists transpose(const TileLists& lists, int64_t other_tiles, std::vector<int32_t>& entries) {
  TileLists result;
  transpose_full(lists, other_tiles, result);
  transpose_partial(lists, other_tiles, result, entries);
  return result;
}

}  // namespace coeus
