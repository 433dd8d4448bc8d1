// Flash attention forward for one tile of queries. Only for files that are compiled once for each
// capability.
#pragma once

#include <cmath>
#include <utility>

#include "coeus/kernels/cpu/aligned_buffer.h"
#include "coeus/kernels/cpu/attention_products.h"

namespace coeus::COEUS_CPU_NAMESPACE {

/// A block of queries on its way over the keys: output so far, transposed, in units of 2^largest.
template <class C>
struct OnlineSoftmax {
  alignas(64) C largest[kBlock];  ///< the largest score of each query, in powers of two
  alignas(64) C sum[kBlock];
  alignas(64) C shrink[kBlock];  ///< what the last chunk's new largest score made of the rest
};

/// Turns the scores of some columns, kVectors vectors from `column` on, into weights, and takes
/// them into the running sums.
template <class C, int kVectors>
inline void absorb_columns(OnlineSoftmax<C>& softmax, C* scores, int64_t keys, int64_t column) {
  using V = Vector<C>;
  V largest[kVectors];
  V shift[kVectors];
  V sum[kVectors];
  for (int n = 0; n < kVectors; ++n) largest[n] = load(softmax.largest + column + n * kLanes<C>);
  for (int64_t k = 0; k < keys; ++k)
    for (int n = 0; n < kVectors; ++n)
      largest[n] = larger(largest[n], load(scores + k * kBlock + column + n * kLanes<C>));
  for (int n = 0; n < kVectors; ++n) {
    const int64_t at = column + n * kLanes<C>;
    // A query that has seen nothing yet: -inf - (-inf) would be NaN.
    shift[n] = largest[n] == -kInfinity<C> ? V{} : largest[n];
    const V shrink = exp2(load(softmax.largest + at) - shift[n]);
    store(softmax.shrink + at, shrink);
    store(softmax.largest + at, largest[n]);
    sum[n] = load(softmax.sum + at) * shrink;
  }
  for (int64_t k = 0; k < keys; ++k)
    for (int n = 0; n < kVectors; ++n) {
      C* at = scores + k * kBlock + column + n * kLanes<C>;
      const V weight = exp2(load(at) - shift[n]);
      store(at, weight);
      sum[n] += weight;
    }
  for (int n = 0; n < kVectors; ++n) store(softmax.sum + column + n * kLanes<C>, sum[n]);
}

/// Multiplies the columns of the output so far by what softmax says, where that is not 1.
template <class C>
inline void shrink_output(const OnlineSoftmax<C>& softmax, C* out, int64_t value_dim,
                          const KeyChunk<C>& chunk) {
  for (int64_t c = chunk.column_begin; c < chunk.column_end; c += kLanes<C>) {
    const Vector<C> shrink = load(softmax.shrink + c);
    int changed = 0;
    for (int64_t i = 0; i < kLanes<C>; ++i) changed |= softmax.shrink[c + i] != C{1};
    if (changed == 0) continue;
    for (int64_t d = 0; d < value_dim; ++d)
      store(out + d * kBlock + c, load(out + d * kBlock + c) * shrink);
  }
}

/// Packed tiles of keys and values, the last ones that calls with the same scratch went through.
template <class P>
class KeyTiles {
 public:
  static int64_t bytes(const BlockMaskRow& mask, int64_t head_dim, int64_t value_dim) {
    return round_up(kTiles * static_cast<int64_t>(sizeof(int64_t)), 64) +
           kTiles * (tile_bytes(mask, head_dim) + tile_bytes(mask, value_dim));
  }

  /// Where tile `tile` of the work's k and v is packed.
  template <class T>
  static std::pair<const std::byte*, const std::byte*> find(const AttentionForward<T>& work,
                                                            int64_t tile) {
    const BlockMaskRow& mask = *work.mask;
    const int64_t k_bytes = tile_bytes(mask, work.head_dim);
    const int64_t v_bytes = tile_bytes(mask, work.value_dim);
    auto* names = reinterpret_cast<int64_t*>(work.scratch);
    const int64_t slot = tile % kTiles;
    const int64_t name = 1 + work.key_head * mask.key_tiles() + tile;  // 0 names nothing
    std::byte* k = work.scratch + round_up(kTiles * static_cast<int64_t>(sizeof(int64_t)), 64) +
                   slot * (k_bytes + v_bytes);
    std::byte* v = k + k_bytes;
    if (names[slot] != name) {
      const int64_t begin = tile * mask.tile_k;
      const int64_t rows = std::min(mask.tile_k, mask.key_length - begin);
      P::PackedRows::pack(work.k.from(begin), rows, work.head_dim, k);
      P::PackedRows::pack(work.v.from(begin), rows, work.value_dim, v);
      names[slot] = name;
    }
    return {k, v};
  }

 private:
  /// Enough for a near past; few enough to stay in cache.
  static constexpr int64_t kTiles = 8;
  static int64_t tile_bytes(const BlockMaskRow& mask, int64_t dim) {
    return round_up(P::PackedRows::bytes(mask.tile_k, dim), 64);
  }
};

template <class P, class T>
void attention_forward_block(const AttentionForward<T>& work, QueryBlock block) {
  using C = AttentionCompute<T>;
  const BlockMaskRow& mask = *work.mask;
  const C scale = work.scale * kLog2e<C>;
  prefetch_rows(work.q, block, work.head_dim);
  prefetch_rows(work.out, block, work.value_dim);
  AlignedBuffer<typename P::Element> queries(P::padded(work.head_dim) * kBlock);
  AlignedBuffer<C> scratch((P::padded(work.value_dim) + kFullChunk) * kBlock);
  C* out = scratch.data();
  C* scores = out + P::padded(work.value_dim) * kBlock;
  typename P::OperandScratch operands;
  pack_right_transposed<P>(work.q, block, work.head_dim, P::kScalesQueries ? scale : C{1},
                           queries.data());
  std::fill_n(out, P::padded(work.value_dim) * kBlock, C{});
  OnlineSoftmax<C> softmax;
  std::fill_n(softmax.largest, kBlock, -kInfinity<C>);
  std::fill_n(softmax.sum, kBlock, C{});

  const auto visit_tile = [&](int64_t tile, int64_t entry) {
    const int64_t begin = tile * mask.tile_k;
    const int64_t end = std::min(begin + mask.tile_k, mask.key_length);
    const bool whole = work.packed_k != nullptr;
    const auto [tile_k, tile_v] =
        whole ? std::pair(work.packed_k, work.packed_v) : KeyTiles<P>::find(work, tile);
    const int64_t packed_from = whole ? 0 : begin;
    const int64_t packed_rows = whole ? mask.key_length : end - begin;
    const typename P::PackedRows k(tile_k, packed_rows, work.head_dim);
    const typename P::PackedRows v(tile_v, packed_rows, work.value_dim);
    for_each_chunk<C, P::kColumnStep>(
        mask, block, begin, end, entry, [&](const KeyChunk<C>& chunk) {
          const int64_t first = chunk.column_begin;
          const int64_t columns = chunk.column_end - first;
          const int64_t at = chunk.begin - packed_from;
          tile_product(chunk.count, columns, P::depth(work.head_dim), k.by_row(at),
                       queries.data() + first * P::kPair, kBlock, scores + first, kBlock, false);
          finish_scores<C, !P::kScalesQueries>(scores, chunk, scale);
          int64_t c = first;
          for (; c + 2 * kLanes<C> <= chunk.column_end; c += 2 * kLanes<C>)
            absorb_columns<C, 2>(softmax, scores, chunk.count, c);
          if (c < chunk.column_end) absorb_columns<C, 1>(softmax, scores, chunk.count, c);
          shrink_output(softmax, out, work.value_dim, chunk);
          tile_product(work.value_dim, columns, P::depth(chunk.count), v.by_dim(at),
                       P::as_right(scores, chunk, operands) + first * P::kPair, kBlock, out + first,
                       kBlock, true);
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
  transpose_out(out, softmax.shrink, block.count, work.value_dim,
                work.out.data + block.begin * work.out.stride, work.out.stride);
}

template <class P, class T>
void attention_forward(const AttentionForward<T>& work) {
  [[maybe_unused]] const typename P::Registers registers;
  const BlockMaskRow& mask = *work.mask;
  const int64_t begin = work.query_tile * mask.tile_q;
  const int64_t end = std::min(begin + mask.tile_q, mask.query_length);
  for (int64_t q = begin; q < end; q += kBlock)
    attention_forward_block<P>(work, {q, std::min(kBlock, end - q)});
}

}  // namespace coeus::COEUS_CPU_NAMESPACE
