// What forward and backward attention share: a block of up to 64 queries against a chunk of up to
// 64 keys. Scores of a block stand transposed, keys down and queries across, so that softmax and
// masks work lane by lane, a lane a query. Only for files that are compiled once for each
// capability.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "coeus/kernels/cpu/attention.h"
#include "coeus/kernels/cpu/vector.h"

namespace coeus::COEUS_CPU_NAMESPACE {

/// Queries a block, the columns of transposed scores, and keys a chunk, their rows.
constexpr int64_t kBlock = 64;
constexpr int64_t kChunk = 64;
/// Keys that one word says of what a query sees.
constexpr int64_t kWord = 32;

template <class C>
constexpr C kLog2e = static_cast<C>(1.442695040888963407);
template <class C>
constexpr C kLn2 = static_cast<C>(0.693147180559945309);
template <class C>
constexpr C kInfinity = std::numeric_limits<C>::infinity();

inline float as_compute(float x) { return x; }
inline float as_compute(BFloat16 x) { return to_float(x); }
inline double as_compute(double x) { return x; }
template <class T>
inline T from_compute(AttentionCompute<T> x) {
  if constexpr (std::is_same_v<T, BFloat16>)
    return from_float<BFloat16>(x);
  else
    return x;
}

/// Queries [begin, begin + count) of a row.
struct QueryBlock {
  int64_t begin;
  int64_t count;
};

/// Some scores of a chunk: rows of keys, counted from the chunk's first, columns of queries.
struct Rectangle {
  int64_t row_begin;
  int64_t row_end;
  int64_t column_begin;
  int64_t column_end;

  int64_t rows() const { return row_end - row_begin; }
  int64_t columns() const { return column_end - column_begin; }
  /// Where it begins among scores [kChunk, kBlock].
  int64_t place() const { return row_begin * kBlock + column_begin; }
};

/// A few rectangles, each beside the one before.
class Rectangles {
 public:
  static constexpr int64_t kMost = 16;

  void add(const Rectangle& r) { items_[count_++] = r; }
  bool empty() const { return count_ == 0; }
  Rectangle& back() { return items_[count_ - 1]; }
  const Rectangle* begin() const { return items_; }
  const Rectangle* end() const { return items_ + count_; }

 private:
  Rectangle items_[kMost];
  int64_t count_ = 0;
};

/// Keys [begin, begin + count) of a row, and rectangles that cover what the block's queries see of
/// them. Products that go down the keys take those `by_rows`; what goes along a query's keys takes
/// those `by_columns`, which contain the others. With `words`, bit j % kWord of
/// words[j / kWord * kBlock + c] says whether query c of the block sees key begin + j; without, all
/// queries see all keys.
template <class C>
struct KeyChunk {
  int64_t begin;
  int64_t count;
  Rectangles by_rows;
  Rectangles by_columns;
  const BitsOf<C>* words;
};

/// The lowest `count` bits of a word of 32; all of them from 32 on, none up to 0.
inline uint32_t low_bits(int32_t count) {
  const uint32_t bits = (uint32_t{1} << (count & 31)) - 1;
  return count >= 32 ? ~uint32_t{0} : count <= 0 ? 0 : bits;
}

/// What the block's queries see of keys [begin, begin + count), count <= kWord, which lie in the
/// partial tile of number `entry` that starts at key `tile_begin`: bit j of words[c] for query c
/// and key j.
inline void look(const BlockMaskRow& mask, QueryBlock block, int64_t begin, int64_t count,
                 int64_t entry, int64_t tile_begin, uint32_t* words) {
  const uint32_t all = low_bits(static_cast<int32_t>(count));
  if (mask.interval_count == 0) {
    const int64_t offset = begin - tile_begin;
    const int64_t row = entry * mask.tile_q + block.begin % mask.tile_q;
    const uint64_t* bits = mask.bits.data() + row * mask.words_per_row() + offset / 64;
    for (int64_t c = 0; c < block.count; ++c)
      words[c] = static_cast<uint32_t>(bits[c * mask.words_per_row()] >> (offset % 64)) & all;
    return;
  }
  std::fill_n(words, block.count, 0U);
  for (int64_t slot = 0; slot < mask.interval_count; ++slot) {
    const int32_t* from = mask.interval_begin.data() + slot * mask.query_length + block.begin;
    const int32_t* to = mask.interval_end.data() + slot * mask.query_length + block.begin;
    if (mask.key_ranks.empty()) {
      const auto first = static_cast<int32_t>(begin);
      for (int64_t c = 0; c < block.count; ++c)
        words[c] |= low_bits(to[c] - first) & ~low_bits(from[c] - first) & all;
    } else {
      for (int64_t j = 0; j < count; ++j) {
        const int32_t rank = mask.key_ranks[begin + j];
        for (int64_t c = 0; c < block.count; ++c)
          words[c] |= static_cast<uint32_t>(from[c] <= rank && rank < to[c]) << j;
      }
    }
  }
}

/// Covers what is seen of a chunk's `count` keys: bit j of seen[n] says whether any query of the
/// columns [n kColumnStep, (n + 1) kColumnStep) sees key j. Rectangles begin at multiples of the
/// products' steps.
template <class P>
void cover(const uint64_t* seen, KeyChunk<typename P::Compute>& chunk) {
  constexpr int64_t kRowStep = P::kRowStep;
  constexpr int64_t kColumnStep = P::kColumnStep;
  constexpr int64_t kSteps = kBlock / kColumnStep;
  static_assert(kSteps <= Rectangles::kMost && kChunk / kRowStep < Rectangles::kMost);
  Rectangle columns[kSteps] = {};
  for (int64_t row = 0; row < chunk.count; row += kRowStep) {
    const uint64_t rows = ((uint64_t{1} << kRowStep) - 1) << row;
    int64_t first = 0;
    int64_t last = kSteps - 1;
    while (first < kSteps && (seen[first] & rows) == 0) ++first;
    if (first == kSteps) continue;
    while ((seen[last] & rows) == 0) --last;
    const Rectangle step{row, std::min(row + kRowStep, chunk.count), first * kColumnStep,
                         (last + 1) * kColumnStep};
    for (int64_t n = first; n <= last; ++n) {
      if (columns[n].rows() == 0) columns[n].row_begin = row;
      columns[n].row_end = step.row_end;
    }
    if (!chunk.by_rows.empty() && chunk.by_rows.back().row_end == row &&
        chunk.by_rows.back().column_begin == step.column_begin &&
        chunk.by_rows.back().column_end == step.column_end)
      chunk.by_rows.back().row_end = step.row_end;
    else
      chunk.by_rows.add(step);
  }
  for (int64_t n = 0; n < kSteps; ++n) {
    if (columns[n].rows() == 0) continue;
    const Rectangle step{columns[n].row_begin, columns[n].row_end, n * kColumnStep,
                         (n + 1) * kColumnStep};
    if (!chunk.by_columns.empty() && chunk.by_columns.back().column_end == step.column_begin &&
        chunk.by_columns.back().row_begin == step.row_begin &&
        chunk.by_columns.back().row_end == step.row_end)
      chunk.by_columns.back().column_end = step.column_end;
    else
      chunk.by_columns.add(step);
  }
}

/// Calls f(KeyChunk) for what the block's queries see of keys [begin, end), a full tile's or, with
/// entry >= 0, those of the partial tile of that number.
template <class P, class F>
void for_each_chunk(const BlockMaskRow& mask, QueryBlock block, int64_t begin, int64_t end,
                    int64_t entry, F&& f) {
  using C = typename P::Compute;
  constexpr int64_t kColumnStep = P::kColumnStep;
  const auto visit_whole = [&](int64_t k, int64_t count) {
    KeyChunk<C> chunk{k, count, {}, {}, nullptr};
    const Rectangle all{0, count, 0, (block.count + kColumnStep - 1) / kColumnStep * kColumnStep};
    chunk.by_rows.add(all);
    chunk.by_columns.add(all);
    f(chunk);
  };
  uint32_t seen[2 * kBlock];
  alignas(64) BitsOf<C> words[2 * kBlock] = {};
  // A chunk begins with the first key that is seen, where its words can be made from there on.
  const int64_t alignment = mask.interval_count > 0 ? 1 : kWord;
  int64_t next = begin;
  while (next < end) {
    const int64_t k = next;
    const int64_t count = std::min(kChunk, end - k);
    next += count;
    if (entry < 0) {
      visit_whole(k, count);
      continue;
    }
    look(mask, block, k, std::min(kWord, count), entry, begin, seen);
    if (count > kWord)
      look(mask, block, k + kWord, count - kWord, entry, begin, seen + kBlock);
    else
      std::fill_n(seen + kBlock, block.count, 0U);
    uint64_t by_all = ~uint64_t{0};
    uint64_t by_step[kBlock / kColumnStep] = {};
    for (int64_t c = 0; c < block.count; ++c) {
      const uint64_t keys = seen[c] | uint64_t{seen[kBlock + c]} << kWord;
      by_all &= keys;
      by_step[c / kColumnStep] |= keys;
    }
    if (by_all == ~uint64_t{0} >> (64 - count)) {
      visit_whole(k, count);
      continue;
    }
    uint64_t by_any = 0;
    for (const uint64_t keys : by_step) by_any |= keys;
    if (by_any == 0) continue;
    const int64_t hidden = std::countr_zero(by_any) / alignment * alignment;
    if (hidden > 0) {
      next = k + hidden;
      continue;
    }
    KeyChunk<C> chunk{k, count, {}, {}, words};
    cover<P>(by_step, chunk);
    for (int64_t c = 0; c < block.count; ++c) {
      words[c] = static_cast<BitsOf<C>>(seen[c]);
      words[kBlock + c] = static_cast<BitsOf<C>>(seen[kBlock + c]);
    }
    f(chunk);
  }
}

/// Which queries of a vector from `column` on see row `row` of a chunk that has words.
template <class C>
inline auto visible_lanes(const KeyChunk<C>& chunk, int64_t row, int64_t column) {
  const BitsOf<C>* word = chunk.words + row / kWord * kBlock + column;
  return (load(word) & (Vector<BitsOf<C>>{} + (BitsOf<C>{1} << row % kWord))) != 0;
}

/// How many rows ahead of their use rows are asked for: tokens of a head lie apart, in an order
/// that no CPU guesses.
constexpr int64_t kRowsAhead = 8;

/// Asks for the row of a token before it is read or, of an operand that is not const, written.
template <class T>
inline void prefetch_row(AttentionOperand<T> x, int64_t token, int64_t dim) {
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  for (int64_t d = 0; d < dim; d += kLine)
    __builtin_prefetch(x.data + token * x.stride + d, !std::is_const_v<T>);
}

/// Asks for all rows of a block.
template <class T>
inline void prefetch_rows(AttentionOperand<T> x, QueryBlock block, int64_t dim) {
  for (int64_t c = 0; c < block.count; ++c) prefetch_row(x, block.begin + c, dim);
}

/// Rows that later work will read or write: asked for a few lines at a time between computations,
/// so that memory works beside them.
class RowsToCome {
 public:
  template <class T>
  void add(AttentionOperand<T> x, int64_t begin, int64_t end, int64_t dim) {
    if (begin >= end || count_ == kMost) return;
    constexpr int64_t kSize = static_cast<int64_t>(sizeof(T));
    ranges_[count_++] = {reinterpret_cast<const std::byte*>(x.data + begin * x.stride),
                         x.stride * kSize, end - begin, dim * kSize};
  }
  /// Asks for about so many lines more.
  void ask(int64_t lines) {
    while (lines > 0 && next_ < count_) {
      Range& range = ranges_[next_];
      for (int64_t at = 0; at < range.row_bytes; at += 64, --lines)
        __builtin_prefetch(range.row + at, 0, 2);
      range.row += range.stride;
      if (--range.rows == 0) ++next_;
    }
  }

 private:
  struct Range {
    const std::byte* row;
    int64_t stride;
    int64_t rows;
    int64_t row_bytes;
  };
  static constexpr int kMost = 16;
  Range ranges_[kMost];
  int count_ = 0;
  int next_ = 0;
};

/// The scores of a vector of queries for one row of a chunk: scaled, where that was not done to q,
/// and -inf where the mask hides them and nothing may have been computed.
template <class C, bool kScale, bool kMasked>
inline Vector<C> finished_scores(const C* scores, const KeyChunk<C>& chunk, int64_t row,
                                 int64_t column, C scale) {
  Vector<C> score = load(scores + row * kBlock + column);
  if constexpr (kScale) score *= scale;
  if constexpr (kMasked)
    score = visible_lanes(chunk, row, column) ? score : broadcast(-kInfinity<C>);
  return score;
}

}  // namespace coeus::COEUS_CPU_NAMESPACE
