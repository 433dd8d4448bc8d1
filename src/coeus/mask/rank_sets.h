// Sets of ranks (keys in the order of their indices), one for each query of a tile, and their
// algebra. Sets of one range each are combined by loops that compilers turn into vector code.
#pragma once

#include <cstdint>
#include <vector>

#include "coeus/mask/key_order.h"

namespace coeus {

/// One set of ranks for each of `queries` queries: set i is the union of the ranges
/// [begin(s)[i], end(s)[i]) of all slots s. Ranges of a query are disjoint and ascend with the
/// slot; those with begin >= end are empty and may stand anywhere.
class RankSets {
 public:
  int64_t queries() const { return queries_; }
  int slots() const { return slots_; }
  int32_t* begin(int slot) { return begins_.data() + slot * queries_; }
  int32_t* end(int slot) { return ends_.data() + slot * queries_; }
  const int32_t* begin(int slot) const { return begins_.data() + slot * queries_; }
  const int32_t* end(int slot) const { return ends_.data() + slot * queries_; }

  /// Makes room; contents are undefined afterwards. Keeps its memory from use to use.
  void resize(int64_t queries, int slots);
  /// All queries see ranks [first, last).
  void fill(int64_t queries, int32_t first, int32_t last);
  /// Appends query i's non-empty ranges, joined where they touch.
  void append_ranges(int64_t i, std::vector<RankRange>& ranges) const;
  /// Rewrites query i of sets sized before; there must be slots for all ranges.
  void set(int64_t i, const std::vector<RankRange>& ranges);
  /// Leaves as few slots as the ranges need: empty ones last and [0, 0), touching ones joined.
  void compact();
  /// How many ranks all sets hold together.
  int64_t area() const;

 private:
  bool is_compact() const;

  int64_t queries_ = 0;
  int slots_ = 0;
  std::vector<int32_t> begins_;
  std::vector<int32_t> ends_;
};

/// out = a & b, a | b, ~a (within ranks [0, key_count)), query by query. `out` is none of them.
void intersect(const RankSets& a, const RankSets& b, RankSets& out);
void unite(const RankSets& a, const RankSets& b, RankSets& out);
void complement(const RankSets& a, int32_t key_count, RankSets& out);

/// The ranks that at least one query's set holds: ascending, apart.
void unite_queries(const RankSets& sets, std::vector<RankRange>& out);
/// The ranks that every query's set holds: ascending, apart. All of [0, key_count) for no queries.
void intersect_queries(const RankSets& sets, int32_t key_count, std::vector<RankRange>& out);

}  // namespace coeus
