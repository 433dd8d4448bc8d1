// Flash attention forward for one tile of queries. Only for files that are compiled once for each
// capability.
#pragma once

#include <cmath>
#include <utility>

#include "coeus/kernels/cpu/aligned_buffer.h"
#include "coeus/kernels/cpu/attention_products.h"

namespace coeus::COEUS_CPU_NAMESPACE {

/// A block of queries on its way over the keys: its sums so far are in units of 2^largest.
template <class C>
struct OnlineSoftmax {
  alignas(64) C largest[kBlock];  ///< the largest score of each query, in powers of two
  alignas(64) C sum[kBlock];
  alignas(64) C shrink[kBlock];  ///< what the last rectangle's new largest score made of the rest
};

/// Turns a rectangle's scores of some queries, kVectors vectors from `column` on, into weights, and
/// takes them into the running sums.
template <class C, bool kScale, bool kMasked, int kVectors>
inline void absorb_columns(OnlineSoftmax<C>& softmax, C* scores, const KeyChunk<C>& chunk,
                           const Rectangle& r, C scale, int64_t column) {
  using V = Vector<C>;
  V largest[kVectors];
  V shift[kVectors];
  V sum[kVectors];
  for (int n = 0; n < kVectors; ++n) largest[n] = load(softmax.largest + column + n * kLanes<C>);
  for (int64_t k = r.row_begin; k < r.row_end; ++k)
    for (int n = 0; n < kVectors; ++n) {
      const int64_t c = column + n * kLanes<C>;
      const V score = finished_scores<C, kScale, kMasked>(scores, chunk, k, c, scale);
      if constexpr (kScale || kMasked) store(scores + k * kBlock + c, score);
      largest[n] = larger(largest[n], score);
    }
  for (int n = 0; n < kVectors; ++n) {
    const int64_t at = column + n * kLanes<C>;
    // A query that has seen nothing yet: -inf - (-inf) would be NaN.
    shift[n] = largest[n] == -kInfinity<C> ? V{} : largest[n];
    const V shrink = exp2(load(softmax.largest + at) - shift[n]);
    store(softmax.shrink + at, shrink);
    store(softmax.largest + at, largest[n]);
    sum[n] = load(softmax.sum + at) * shrink;
  }
  for (int64_t k = r.row_begin; k < r.row_end; ++k)
    for (int n = 0; n < kVectors; ++n) {
      C* at = scores + k * kBlock + column + n * kLanes<C>;
      const V weight = exp2(load(at) - shift[n]);
      store(at, weight);
      sum[n] += weight;
    }
  for (int n = 0; n < kVectors; ++n) store(softmax.sum + column + n * kLanes<C>, sum[n]);
}

template <class C, bool kScale, bool kMasked>
void absorb(OnlineSoftmax<C>& softmax, C* scores, const KeyChunk<C>& chunk, const Rectangle& r,
            C scale) {
  int64_t c = r.column_begin;
  for (; c + 2 * kLanes<C> <= r.column_end; c += 2 * kLanes<C>)
    absorb_columns<C, kScale, kMasked, 2>(softmax, scores, chunk, r, scale, c);
  if (c < r.column_end) absorb_columns<C, kScale, kMasked, 1>(softmax, scores, chunk, r, scale, c);
}

/// Packed tiles of keys and values, the last ones that calls with the same scratch went through.
template <class P, class T>
class KeyTiles {
 public:
  /// What the scratch holds before the tiles: their names, 0 where there is none.
  static constexpr int64_t kNameBytes = kForwardScratchZeros;

  static int64_t bytes(const BlockMaskRow& mask, int64_t head_dim, int64_t value_dim) {
    return kNameBytes + kTiles * (key_bytes(mask, head_dim) + value_bytes(mask, value_dim));
  }

  /// Whether tile `tile` of the work's keys and values is packed.
  static bool holds(const AttentionForward<T>& work, int64_t tile) {
    return names(work)[tile % kTiles] == name(work, tile);
  }

  /// The tile's keys and values, packed if they have to be.
  static std::pair<typename P::LeftRows, typename P::SummedRows> find(
      const AttentionForward<T>& work, int64_t tile) {
    const BlockMaskRow& mask = *work.mask;
    const int64_t begin = tile * mask.tile_k;
    const int64_t rows = std::min(mask.tile_k, mask.key_length - begin);
    const int64_t value_size = value_bytes(mask, work.value_dim);
    std::byte* v =
        work.scratch + kNameBytes + tile % kTiles * (key_bytes(mask, work.head_dim) + value_size);
    std::byte* k = v + value_size;
    if (!holds(work, tile)) {
      if constexpr (!P::template kReadsInPlace<T>)
        P::LeftRows::pack(work.k.from(begin), rows, work.head_dim, k);
      P::SummedRows::pack(work.v.from(begin), rows, work.value_dim, v);
      names(work)[tile % kTiles] = name(work, tile);
    }
    const typename P::SummedRows values(v, rows, work.value_dim);
    if constexpr (P::template kReadsInPlace<T>)
      return {typename P::LeftRows(work.k.from(begin)), values};
    else
      return {typename P::LeftRows(k, rows, work.head_dim), values};
  }

 private:
  /// Enough for a near past; few enough to stay in cache.
  static constexpr int64_t kTiles = kNameBytes / static_cast<int64_t>(sizeof(int64_t));

  static int64_t* names(const AttentionForward<T>& work) {
    return reinterpret_cast<int64_t*>(work.scratch);
  }
  static int64_t name(const AttentionForward<T>& work, int64_t tile) {
    return 1 + work.key_head * work.mask->key_tiles() + tile;
  }
  static int64_t key_bytes(const BlockMaskRow& mask, int64_t dim) {
    return P::template kReadsInPlace<T> ? 0 : round_up(P::LeftRows::bytes(mask.tile_k, dim), 64);
  }
  static int64_t value_bytes(const BlockMaskRow& mask, int64_t dim) {
    return round_up(P::SummedRows::bytes(mask.tile_k, dim), 64);
  }
};

/// What the next tile of queries will read from memory and write, and this one does not.
template <class P, class T>
RowsToCome rows_of_next_tile(const AttentionForward<T>& work) {
  RowsToCome rows;
  const BlockMaskRow& mask = *work.mask;
  const int64_t tile = work.next_query_tile;
  if (tile < 0) return rows;
  const int64_t begin = tile * mask.tile_q;
  const int64_t end = std::min(begin + mask.tile_q, mask.query_length);
  rows.add(work.q, begin, end, work.head_dim);
  const auto add_keys = [&](int64_t key_tile) {
    if (work.packed_k != nullptr || KeyTiles<P, T>::holds(work, key_tile)) return;
    const int64_t first = key_tile * mask.tile_k;
    const int64_t last = std::min(first + mask.tile_k, mask.key_length);
    rows.add(work.k, first, last, work.head_dim);
    rows.add(work.v, first, last, work.value_dim);
  };
  const TileLists& lists = mask.by_query;
  for (int64_t j = lists.partial_offsets[tile]; j < lists.partial_offsets[tile + 1]; ++j)
    add_keys(lists.partial_tiles[j]);
  rows.add(work.out, begin, end, work.value_dim);
  return rows;
}

/// The columns of queries whose sums have begun: the first rectangle makes them, so that they need
/// not be cleared before.
template <class P>
class BegunColumns {
 public:
  void add(const Rectangle& r) { begun_ |= steps_of(r); }
  bool none_of(const Rectangle& r) const { return (begun_ & steps_of(r)) == 0; }
  /// Sets the sums of a rectangle's columns that have not begun to 0.
  void clear_others(const Rectangle& r, typename P::QuerySums& sums) const {
    if ((begun_ & steps_of(r)) == steps_of(r)) return;
    for (int64_t c = r.column_begin; c < r.column_end; c += P::kColumnStep)
      if (none_of({0, 0, c, c + P::kColumnStep})) sums.clear(c, c + P::kColumnStep);
  }

 private:
  static uint64_t steps_of(const Rectangle& r) {
    return ((uint64_t{1} << r.columns() / P::kColumnStep) - 1) << r.column_begin / P::kColumnStep;
  }
  uint64_t begun_ = 0;
};

/// What a block of queries is worked on in.
template <class P>
struct ForwardScratch {
  ForwardScratch(int64_t head_dim, int64_t value_dim)
      : queries(P::padded(head_dim) * kBlock),
        scores(kChunk * kBlock),
        out(P::padded(value_dim) * kBlock) {}

  AlignedBuffer<typename P::Element> queries;
  AlignedBuffer<typename P::Compute> scores;
  AlignedBuffer<typename P::Compute> out;
  typename P::OperandScratch operands;
};

template <class P, class T>
void attention_forward_block(const AttentionForward<T>& work, QueryBlock block,
                             ForwardScratch<P>& scratch, RowsToCome& to_come) {
  using C = AttentionCompute<T>;
  const BlockMaskRow& mask = *work.mask;
  const C scale = work.scale * kLog2e<C>;
  prefetch_rows(work.q, block, work.head_dim);
  C* const scores = scratch.scores.data();
  typename P::QuerySums out(scratch.out.data(), work.value_dim);
  pack_right_transposed<P>(work.q, block, work.head_dim, P::kScalesQueries ? scale : C{1},
                           scratch.queries.data());
  OnlineSoftmax<C> softmax;
  std::fill_n(softmax.largest, kBlock, -kInfinity<C>);
  std::fill_n(softmax.sum, kBlock, C{});

  BegunColumns<P> begun;

  const auto visit_tile = [&](int64_t tile, int64_t entry) {
    const int64_t begin = tile * mask.tile_k;
    const int64_t end = std::min(begin + mask.tile_k, mask.key_length);
    const bool whole = work.packed_k != nullptr;
    const auto [k, v] =
        whole ? std::pair(typename P::LeftRows(work.packed_k, mask.key_length, work.head_dim),
                          typename P::SummedRows(work.packed_v, mask.key_length, work.value_dim))
              : KeyTiles<P, T>::find(work, tile);
    const int64_t first_row = whole ? 0 : begin;
    for_each_chunk<P>(mask, block, begin, end, entry, [&](const KeyChunk<C>& chunk) {
      const int64_t at = chunk.begin - first_row;
      to_come.ask(192);
      multiply_rows<P>(chunk, k, at, work.head_dim, scratch.queries.data(), scores);
      to_come.ask(192);
      for (const Rectangle& r : chunk.by_columns)
        if (chunk.words == nullptr)
          absorb<C, !P::kScalesQueries, false>(softmax, scores, chunk, r, scale);
        else
          absorb<C, !P::kScalesQueries, true>(softmax, scores, chunk, r, scale);
      to_come.ask(192);
      for (const Rectangle& r : chunk.by_columns) {
        const bool first = begun.none_of(r);
        if (!first) {
          begun.clear_others(r, out);
          out.multiply(softmax.shrink, r);
        }
        out.add(scores, r, v, at + r.row_begin, !first, scratch.operands);
        begun.add(r);
      }
    });
  };
  const TileLists& lists = mask.by_query;
  const int64_t tile = work.query_tile;
  for (int64_t j = lists.full_offsets[tile]; j < lists.full_offsets[tile + 1]; ++j)
    for (int64_t i = lists.full_ranges[2 * j]; i < lists.full_ranges[2 * j + 1]; ++i)
      visit_tile(i, -1);
  for (int64_t j = lists.partial_offsets[tile]; j < lists.partial_offsets[tile + 1]; ++j)
    visit_tile(lists.partial_tiles[j], j);

  for (int64_t c = 0; c < kBlock; ++c) {
    const C sum = softmax.sum[c];
    const bool blind = sum == 0;  // not so for NaN, which goes on into out and lse
    softmax.shrink[c] = blind ? C{} : C{1} / sum;
    if (c < block.count)
      work.lse[block.begin + c] =
          blind ? -kInfinity<C> : softmax.largest[c] * kLn2<C> + std::log(sum);
  }
  begun.clear_others({0, 0, 0, kBlock}, out);
  out.write(softmax.shrink, block.count, work.out.from(block.begin));
}

template <class P, class T>
void attention_forward(const AttentionForward<T>& work) {
  [[maybe_unused]] const typename P::Registers registers;
  const BlockMaskRow& mask = *work.mask;
  const int64_t begin = work.query_tile * mask.tile_q;
  const int64_t end = std::min(begin + mask.tile_q, mask.query_length);
  ForwardScratch<P> scratch(work.head_dim, work.value_dim);
  RowsToCome to_come = rows_of_next_tile<P>(work);
  for (int64_t q = begin; q < end; q += kBlock)
    attention_forward_block<P>(work, {q, std::min(kBlock, end - q)}, scratch, to_come);
}

}  // namespace coeus::COEUS_CPU_NAMESPACE
