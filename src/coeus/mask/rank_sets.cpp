#include "coeus/mask/rank_sets.h"

#include <algorithm>
#include <utility>

namespace coeus {
namespace {

/// Appends a range that begins at or after the last one's begin.
void append_joined(RankRange range, std::vector<RankRange>& ranges) {
  if (range.begin >= range.end) return;
  if (!ranges.empty() && range.begin <= ranges.back().end) {
    ranges.back().end = std::max(ranges.back().end, range.end);
  } else {
    ranges.push_back(range);
  }
}

void intersect_ranges(const std::vector<RankRange>& a, const std::vector<RankRange>& b,
                      std::vector<RankRange>& out) {
  out.clear();
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    append_joined({std::max(a[i].begin, b[j].begin), std::min(a[i].end, b[j].end)}, out);
    a[i].end < b[j].end ? ++i : ++j;
  }
}

void unite_ranges(const std::vector<RankRange>& a, const std::vector<RankRange>& b,
                  std::vector<RankRange>& out) {
  out.clear();
  for (size_t i = 0, j = 0; i < a.size() || j < b.size();) {
    const bool take_a = j == b.size() || (i < a.size() && a[i].begin <= b[j].begin);
    append_joined(take_a ? a[i++] : b[j++], out);
  }
}

void complement_ranges(const std::vector<RankRange>& a, int32_t key_count,
                       std::vector<RankRange>& out) {
  out.clear();
  int32_t next = 0;
  for (const RankRange& range : a) {
    append_joined({next, range.begin}, out);
    next = range.end;
  }
  append_joined({next, key_count}, out);
}

/// The union of sets of one range each. Both slots stay, the second one empty where one is enough.
void unite_pairs(const RankSets& a, const RankSets& b, RankSets& out) {
  out.resize(a.queries(), 2);
  for (int64_t i = 0; i < a.queries(); ++i) {
    RankRange first{a.begin(0)[i], a.end(0)[i]};
    RankRange second{b.begin(0)[i], b.end(0)[i]};
    if (first.begin >= first.end || (second.begin < second.end && second.begin < first.begin)) {
      std::swap(first, second);
    }
    if (second.begin >= second.end) {
      second = {0, 0};
    } else if (second.begin <= first.end) {
      first.end = std::max(first.end, second.end);
      second = {0, 0};
    }
    out.begin(0)[i] = first.begin;
    out.end(0)[i] = first.end;
    out.begin(1)[i] = second.begin;
    out.end(1)[i] = second.end;
  }
}

/// Query by query: `combine(i, ranges)` says the ranges of query i.
template <typename Combine>
void combine_queries(int64_t queries, int most_slots, RankSets& out, Combine combine) {
  out.resize(queries, most_slots);
  std::vector<RankRange> ranges;
  size_t slots = 1;
  for (int64_t i = 0; i < queries; ++i) {
    combine(i, ranges);
    slots = std::max(slots, ranges.size());
    out.set(i, ranges);
  }
  // Slots that no query needed are the last ones, so the rest already lies where it belongs.
  if (static_cast<int>(slots) < most_slots) {
    RankSets trimmed;
    trimmed.resize(queries, static_cast<int>(slots));
    for (int slot = 0; slot < static_cast<int>(slots); ++slot) {
      std::copy_n(out.begin(slot), queries, trimmed.begin(slot));
      std::copy_n(out.end(slot), queries, trimmed.end(slot));
    }
    std::swap(out, trimmed);
  }
}

}  // namespace

void RankSets::resize(int64_t queries, int slots) {
  queries_ = queries;
  slots_ = slots;
  begins_.resize(queries * slots);
  ends_.resize(queries * slots);
}

void RankSets::fill(int64_t queries, int32_t first, int32_t last) {
  resize(queries, 1);
  std::fill(begins_.begin(), begins_.end(), first);
  std::fill(ends_.begin(), ends_.end(), last);
}

void RankSets::append_ranges(int64_t i, std::vector<RankRange>& ranges) const {
  for (int slot = 0; slot < slots_; ++slot) append_joined({begin(slot)[i], end(slot)[i]}, ranges);
}

void RankSets::set(int64_t i, const std::vector<RankRange>& ranges) {
  for (int slot = 0; slot < slots_; ++slot) {
    const bool is_used = slot < static_cast<int>(ranges.size());
    begin(slot)[i] = is_used ? ranges[slot].begin : 0;
    end(slot)[i] = is_used ? ranges[slot].end : 0;
  }
}

bool RankSets::is_compact() const {
  bool last_is_used = false;
  for (int slot = 0; slot < slots_; ++slot) {
    const int32_t* const begin = this->begin(slot);
    const int32_t* const end = this->end(slot);
    for (int64_t i = 0; i < queries_; ++i) {
      const bool is_empty = begin[i] >= end[i];
      if (is_empty ? (begin[i] != 0 || end[i] != 0)
                   : slot > 0 && begin[i] <= this->end(slot - 1)[i]) {
        return false;
      }
      // An empty slot before a used one ends at 0, so only this tells it from one before an end.
      if (!is_empty && slot > 0 && this->end(slot - 1)[i] == 0) return false;
      last_is_used |= !is_empty && slot == slots_ - 1;
    }
  }
  return last_is_used;
}

void RankSets::compact() {
  if (slots_ == 1) {
    for (int64_t i = 0; i < queries_; ++i) {
      const bool is_empty = begins_[i] >= ends_[i];
      begins_[i] = is_empty ? 0 : begins_[i];
      ends_[i] = is_empty ? 0 : ends_[i];
    }
    return;
  }
  if (is_compact()) return;
  RankSets compacted;
  combine_queries(queries_, slots_, compacted, [&](int64_t i, std::vector<RankRange>& ranges) {
    ranges.clear();
    append_ranges(i, ranges);
  });
  *this = std::move(compacted);
}

int64_t RankSets::area() const {
  int64_t area = 0;
  for (size_t i = 0; i < begins_.size(); ++i) area += std::max(ends_[i] - begins_[i], 0);
  return area;
}

void intersect(const RankSets& a, const RankSets& b, RankSets& out) {
  if (a.slots() != 1 && b.slots() != 1) {
    std::vector<RankRange> ranges_a;
    std::vector<RankRange> ranges_b;
    combine_queries(a.queries(), a.slots() + b.slots(), out,
                    [&](int64_t i, std::vector<RankRange>& ranges) {
                      ranges_a.clear();
                      ranges_b.clear();
                      a.append_ranges(i, ranges_a);
                      b.append_ranges(i, ranges_b);
                      intersect_ranges(ranges_a, ranges_b, ranges);
                    });
    return;
  }
  const RankSets& one = a.slots() == 1 ? a : b;
  const RankSets& many = a.slots() == 1 ? b : a;
  const int64_t queries = a.queries();
  out.resize(queries, many.slots());
  for (int slot = 0; slot < many.slots(); ++slot) {
    const int32_t* const begin_one = one.begin(0);
    const int32_t* const end_one = one.end(0);
    const int32_t* const begin_many = many.begin(slot);
    const int32_t* const end_many = many.end(slot);
    int32_t* const begin = out.begin(slot);
    int32_t* const end = out.end(slot);
    for (int64_t i = 0; i < queries; ++i) begin[i] = std::max(begin_one[i], begin_many[i]);
    for (int64_t i = 0; i < queries; ++i) end[i] = std::min(end_one[i], end_many[i]);
  }
}

void unite(const RankSets& a, const RankSets& b, RankSets& out) {
  if (a.slots() == 1 && b.slots() == 1) return unite_pairs(a, b, out);
  std::vector<RankRange> ranges_a;
  std::vector<RankRange> ranges_b;
  combine_queries(a.queries(), a.slots() + b.slots(), out,
                  [&](int64_t i, std::vector<RankRange>& ranges) {
                    ranges_a.clear();
                    ranges_b.clear();
                    a.append_ranges(i, ranges_a);
                    b.append_ranges(i, ranges_b);
                    unite_ranges(ranges_a, ranges_b, ranges);
                  });
}

void complement(const RankSets& a, int32_t key_count, RankSets& out) {
  std::vector<RankRange> ranges_a;
  combine_queries(a.queries(), a.slots() + 1, out, [&](int64_t i, std::vector<RankRange>& ranges) {
    ranges_a.clear();
    a.append_ranges(i, ranges_a);
    complement_ranges(ranges_a, key_count, ranges);
  });
}

void unite_queries(const RankSets& sets, std::vector<RankRange>& out) {
  out.clear();
  bool is_ascending = true;
  for (int slot = 0; slot < sets.slots(); ++slot) {
    const int32_t* const begin = sets.begin(slot);
    const int32_t* const end = sets.end(slot);
    for (int64_t i = 0; i < sets.queries(); ++i) {
      if (begin[i] >= end[i]) continue;
      if (!out.empty() && begin[i] >= out.back().begin && begin[i] <= out.back().end) {
        out.back().end = std::max(out.back().end, end[i]);
        continue;
      }
      is_ascending &= out.empty() || begin[i] > out.back().end;
      out.push_back({begin[i], end[i]});
    }
  }
  if (is_ascending) return;
  std::sort(out.begin(), out.end(),
            [](const RankRange& a, const RankRange& b) { return a.begin < b.begin; });
  size_t kept = 0;
  for (size_t i = 1; i < out.size(); ++i) {
    if (out[i].begin <= out[kept].end) {
      out[kept].end = std::max(out[kept].end, out[i].end);
    } else {
      out[++kept] = out[i];
    }
  }
  out.resize(kept + 1);
}

void intersect_queries(const RankSets& sets, int32_t key_count, std::vector<RankRange>& out) {
  out.clear();
  if (key_count > 0) out.push_back({0, key_count});
  if (sets.slots() == 1) {
    int32_t begin = 0;
    int32_t end = key_count;
    for (int64_t i = 0; i < sets.queries(); ++i) begin = std::max(begin, sets.begin(0)[i]);
    for (int64_t i = 0; i < sets.queries(); ++i) end = std::min(end, sets.end(0)[i]);
    out.clear();
    if (begin < end) out.push_back({begin, end});
    return;
  }
  std::vector<RankRange> ranges;
  std::vector<RankRange> narrowed;
  for (int64_t i = 0; i < sets.queries() && !out.empty(); ++i) {
    ranges.clear();
    sets.append_ranges(i, ranges);
    intersect_ranges(out, ranges, narrowed);
    out.swap(narrowed);
  }
}

}  // namespace coeus
