// What forward and backward attention share: a block of up to 64 queries against a chunk of keys.
// Scores of a block stand transposed, keys down and queries across, so that softmax and masks work
// lane by lane, a lane a query. Only for files that are compiled once for each capability.
#pragma once

#include <algorithm>
#include <cstdint>

#include "coeus/kernels/cpu/attention.h"
#include "coeus/kernels/cpu/vector.h"

namespace coeus::COEUS_CPU_NAMESPACE {

/// Queries a block: the columns of transposed scores.
constexpr int64_t kBlock = 64;
/// Keys a chunk where nothing is hidden, and where a word a query says what is visible.
constexpr int64_t kFullChunk = 64;
constexpr int64_t kMaskedChunk = 32;

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

/// Keys [begin, begin + count) of a row, and the columns [column_begin, column_end), whole steps of
/// the products, of the queries that see any of them. With `words`, bit j of words[c] says whether
/// query c of the block sees key begin + j; without, all queries see all keys.
template <class C>
struct KeyChunk {
  int64_t begin;
  int64_t count;
  int64_t column_begin;
  int64_t column_end;
  const BitsOf<C>* words;
};

/// The lowest `count` bits of a word of 32; all of them from 32 on, none up to 0.
inline uint32_t low_bits(int32_t count) {
  const uint32_t bits = (uint32_t{1} << (count & 31)) - 1;
  return count >= 32 ? ~uint32_t{0} : count <= 0 ? 0 : bits;
}

/// What the block's queries see of keys [begin, begin + count), count <= 32, which lie in the
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

/// Calls f(KeyChunk) for what the block's queries see of keys [begin, end), a full tile's or, with
/// entry >= 0, those of the partial tile of that number.
template <class C, int64_t kColumnStep, class F>
void for_each_chunk(const BlockMaskRow& mask, QueryBlock block, int64_t begin, int64_t end,
                    int64_t entry, F&& f) {
  const auto whole_steps = [](int64_t columns) {
    return (columns + kColumnStep - 1) / kColumnStep * kColumnStep;
  };
  if (entry < 0) {
    for (int64_t k = begin; k < end; k += kFullChunk)
      f(KeyChunk<C>{k, std::min(kFullChunk, end - k), 0, whole_steps(block.count), nullptr});
    return;
  }
  uint32_t seen[kBlock];
  alignas(64) BitsOf<C> words[kBlock] = {};
  for (int64_t k = begin; k < end; k += kMaskedChunk) {
    const int64_t count = std::min(kMaskedChunk, end - k);
    look(mask, block, k, count, entry, begin, seen);
    int64_t first = 0;
    while (first < block.count && seen[first] == 0) ++first;
    int64_t last = block.count - 1;
    while (last >= first && seen[last] == 0) --last;
    if (last < first) continue;
    for (int64_t c = 0; c < block.count; ++c) words[c] = static_cast<BitsOf<C>>(seen[c]);
    f(KeyChunk<C>{k, count, first / kColumnStep * kColumnStep, whole_steps(last + 1), words});
  }
}

/// Where the lanes of `word` have bit j.
template <class C>
inline auto visible_lanes(const BitsOf<C>* word, int64_t j) {
  return (load(word) & (Vector<BitsOf<C>>{} + (BitsOf<C>{1} << j))) != 0;
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

/// Scales scores in place, where that was not done to q, and hides those that the mask hides.
template <class C, bool kScale>
inline void finish_scores(C* scores, const KeyChunk<C>& chunk, C scale) {
  if (!kScale && chunk.words == nullptr) return;
  for (int64_t k = 0; k < chunk.count; ++k)
    for (int64_t c = chunk.column_begin; c < chunk.column_end; c += kLanes<C>) {
      C* at = scores + k * kBlock + c;
      Vector<C> score = load(at);
      if constexpr (kScale) score *= scale;
      if (chunk.words != nullptr)
        score = visible_lanes<C>(chunk.words + c, k) ? score : broadcast(-kInfinity<C>);
      store(at, score);
    }
}

}  // namespace coeus::COEUS_CPU_NAMESPACE
