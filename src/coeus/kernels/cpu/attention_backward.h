// Flash attention backward for a range of key tiles. Only for files that are compiled once for each
// capability.
#pragma once

#include <utility>

#include "coeus/kernels/cpu/attention_products.h"

namespace coeus::COEUS_CPU_NAMESPACE {

/// The row's blocks of queries stand tile by tile, each tile cut into blocks, the last of which may
/// be empty.
inline int64_t blocks_per_tile(const BlockMaskRow& mask) {
  return (mask.tile_q + kBlock - 1) / kBlock;
}
inline QueryBlock block_at(const BlockMaskRow& mask, int64_t place) {
  const int64_t tile = place / blocks_per_tile(mask);
  const int64_t end = std::min((tile + 1) * mask.tile_q, mask.query_length);
  const int64_t begin = std::min(tile * mask.tile_q + place % blocks_per_tile(mask) * kBlock, end);
  return {begin, std::min(kBlock, end - begin)};
}

/// Hands out memory piece by piece; without memory it only counts.
class Carver {
 public:
  explicit Carver(std::byte* memory) : memory_(memory) {}
  template <class E>
  E* take(int64_t count) {
    E* piece = memory_ == nullptr ? nullptr : reinterpret_cast<E*>(memory_ + taken_);
    taken_ += round_up(count * static_cast<int64_t>(sizeof(E)), 64);
    return piece;
  }
  int64_t taken() const { return taken_; }

 private:
  std::byte* memory_;
  int64_t taken_ = 0;
};

/// Where in the scratch a tile of queries stands, from the first key tile that visits it to the
/// last. A slot that falls free is the next to be given out, so that a mask under which only near
/// tokens see each other works in little memory, which stays in cache.
class TileSlots {
 public:
  TileSlots(Carver& from, int64_t query_tiles)
      : tiles_(query_tiles),
        visits_left_(from.take<int32_t>(query_tiles)),
        slots_(from.take<int32_t>(query_tiles)),
        free_(from.take<int32_t>(query_tiles)) {}

  /// All slots are free, and the key tiles [begin, end) are to come.
  void start(const BlockMaskRow& mask, int64_t begin, int64_t end) {
    std::fill_n(visits_left_, tiles_, 0);
    std::fill_n(slots_, tiles_, -1);
    for (int64_t i = 0; i < tiles_; ++i) free_[i] = static_cast<int32_t>(tiles_ - 1 - i);
    free_count_ = tiles_;
    const TileLists& lists = mask.by_key;
    for (int64_t j = lists.full_offsets[begin]; j < lists.full_offsets[end]; ++j)
      for (int64_t q = lists.full_ranges[2 * j]; q < lists.full_ranges[2 * j + 1]; ++q)
        ++visits_left_[q];
    for (int64_t j = lists.partial_offsets[begin]; j < lists.partial_offsets[end]; ++j)
      ++visits_left_[lists.partial_tiles[j]];
  }
  bool is_visited(int64_t tile) const { return visits_left_[tile] > 0; }
  bool holds(int64_t tile) const { return slots_[tile] >= 0; }
  /// The tile's slot, and whether nothing is in it yet.
  std::pair<int64_t, bool> enter(int64_t tile) {
    const bool fresh = slots_[tile] < 0;
    if (fresh) slots_[tile] = free_[--free_count_];
    return {slots_[tile], fresh};
  }
  /// Whether that was the tile's last visit, after which its slot is free.
  bool leave(int64_t tile) {
    if (--visits_left_[tile] > 0) return false;
    free_[free_count_++] = slots_[tile];
    return true;
  }

 private:
  int64_t tiles_;
  int64_t free_count_ = 0;
  int32_t* visits_left_;
  int32_t* slots_;
  int32_t* free_;
};

/// What backward works in. Of the tiles of queries of one head that have been visited and will be
/// again it keeps the operands in the forms that the products take, block by block of a slot.
template <class P, class T>
struct BackwardScratch {
  using C = typename P::Compute;
  using E = typename P::Element;

  BackwardScratch(Carver& from, const BlockMaskRow& mask, int64_t head_dim, int64_t value_dim)
      : slots(from, mask.query_tiles()) {
    const int64_t columns = mask.query_tiles() * blocks_per_tile(mask) * kBlock;
    const int64_t rows = mask.key_length + kMostExtraRows;
    k_left = from.take<std::byte>(in_place ? 0 : P::LeftRows::bytes(mask.tile_k, head_dim));
    k_summed = from.take<std::byte>(P::SummedRows::bytes(mask.tile_k, head_dim));
    v = from.take<std::byte>(in_place ? 0 : P::LeftRows::bytes(mask.tile_k, value_dim));
    q = from.take<E>(columns * P::padded(head_dim));
    grad_out = from.take<E>(columns * P::padded(value_dim));
    q_transposed = from.take<E>(columns * P::padded(head_dim));
    grad_out_transposed = from.take<E>(columns * P::padded(value_dim));
    grad_q = from.take<C>(columns * P::padded(head_dim));
    lse = from.take<C>(columns);
    delta = from.take<C>(columns);
    grad_k = from.take<C>(rows * P::padded(head_dim));
    grad_v = from.take<C>(rows * P::padded(value_dim));
    weights = from.take<C>(kChunk * kBlock);
    grads = from.take<C>(kChunk * kBlock);
  }
  static int64_t bytes(const BlockMaskRow& mask, int64_t head_dim, int64_t value_dim) {
    Carver counter(nullptr);
    BackwardScratch(counter, mask, head_dim, value_dim);
    return counter.taken();
  }

  static constexpr bool in_place = P::template kReadsInPlace<T>;
  /// Products may write whole groups of 16 rows.
  static constexpr int64_t kMostExtraRows = 16;

  TileSlots slots;
  std::byte* k_left;       ///< one tile of keys, packed, where it is not read in place
  std::byte* k_summed;     ///< the same in the form that is summed
  std::byte* v;            ///< one tile of values, as k_left
  E* q;                    ///< [blocks, kBlock, padded head_dim]
  E* grad_out;             ///< [blocks, kBlock, padded value_dim]
  E* q_transposed;         ///< [blocks, padded head_dim, kBlock]
  E* grad_out_transposed;  ///< [blocks, padded value_dim, kBlock]
  C* grad_q;               ///< [blocks], QuerySums of keys
  C* lse;                  ///< [blocks, kBlock], in powers of two
  C* delta;                ///< [blocks, kBlock], grad_out . out of each query
  C* grad_k;               ///< [keys, padded head_dim]
  C* grad_v;               ///< [keys, padded value_dim]
  C* weights;              ///< [kChunk, kBlock]
  C* grads;                ///< [kChunk, kBlock]
};

/// Rows of a block as both right operands: queries as the depth and, times `factor`, as columns.
template <class P, class T>
void pack_both(AttentionOperand<const T> x, QueryBlock block, int64_t dim,
               AttentionCompute<T> factor, typename P::Element* by_row,
               typename P::Element* transposed) {
  pack_right<P>(x, block, dim, by_row);
  if constexpr (P::kPair == 1)  // the copy's rows lie close together, and are in cache
    pack_right_transposed<P>(AttentionOperand<const typename P::Element>{by_row, P::padded(dim)},
                             QueryBlock{0, block.count}, dim, factor, transposed);
  else
    pack_right_transposed<P>(x, block, dim, factor, transposed);
}

/// Puts a tile of queries into a slot.
template <class P, class T>
void load_query_tile(const AttentionBackward<T>& work, int64_t head, int64_t tile, int64_t slot,
                     const BackwardScratch<P, T>& to) {
  using C = AttentionCompute<T>;
  const BlockMaskRow& mask = *work.mask;
  const AttentionOperand<const T> q{work.q.data + head * work.head_dim, work.q.stride};
  const AttentionOperand<const T> out{work.out.data + head * work.value_dim, work.out.stride};
  const AttentionOperand<const T> grad_out{work.grad_out.data + head * work.value_dim,
                                           work.grad_out.stride};
  const C* lse = work.lse + head * mask.query_length;
  const int64_t q_size = kBlock * P::padded(work.head_dim);
  const int64_t v_size = kBlock * P::padded(work.value_dim);
  const int64_t blocks = blocks_per_tile(mask);
  std::fill_n(to.grad_q + slot * blocks * q_size, blocks * q_size, C{});
  for (int64_t i = 0; i < blocks; ++i) {
    const QueryBlock block = block_at(mask, tile * blocks + i);
    const int64_t place = slot * blocks + i;
    prefetch_rows(out, {block.begin, std::min(kRowsAhead, block.count)}, work.value_dim);
    prefetch_rows(grad_out, {block.begin, std::min(kRowsAhead, block.count)}, work.value_dim);
    for (int64_t c = 0; c < kBlock; ++c) {
      const bool real = c < block.count;
      const int64_t at = block.begin + c;
      if (c + kRowsAhead < block.count) {
        prefetch_row(out, at + kRowsAhead, work.value_dim);
        prefetch_row(grad_out, at + kRowsAhead, work.value_dim);
      }
      if (real) prefetch_row(q, at, work.head_dim);
      // 2^(score - inf) is 0: columns without a query, or whose query sees nothing, weigh nothing.
      const C log = real ? lse[at] * kLog2e<C> : kInfinity<C>;
      to.lse[place * kBlock + c] = log == -kInfinity<C> ? kInfinity<C> : log;
      C delta = 0;
      if (real)
#pragma omp simd reduction(+ : delta)
        for (int64_t d = 0; d < work.value_dim; ++d)
          delta += as_compute(out.data[at * out.stride + d]) *
                   as_compute(grad_out.data[at * grad_out.stride + d]);
      to.delta[place * kBlock + c] = delta;
    }
    const C q_factor = P::kScalesQueries ? work.scale * kLog2e<C> : C{1};
    pack_both<P>(q, block, work.head_dim, q_factor, to.q + place * q_size,
                 to.q_transposed + place * q_size);
    pack_both<P>(grad_out, block, work.value_dim, C{1}, to.grad_out + place * v_size,
                 to.grad_out_transposed + place * v_size);
  }
}

/// Writes what a slot has gathered as the gradient of its tile of queries.
template <class P, class T>
void store_query_tile(const AttentionBackward<T>& work, int64_t head, int64_t tile, int64_t slot,
                      const BackwardScratch<P, T>& from) {
  using C = AttentionCompute<T>;
  alignas(64) C factors[kBlock];
  std::fill_n(factors, kBlock, work.scale);
  const int64_t blocks = blocks_per_tile(*work.mask);
  for (int64_t i = 0; i < blocks; ++i) {
    const QueryBlock block = block_at(*work.mask, tile * blocks + i);
    const typename P::QuerySums sums(
        from.grad_q + (slot * blocks + i) * kBlock * P::padded(work.head_dim), work.head_dim);
    sums.write(
        factors, block.count,
        AttentionOperand<C>{work.grad_q.data + head * work.head_dim, work.grad_q.stride}.from(
            block.begin));
  }
}

/// The gradient of a tile of queries that see none of the keys.
template <class T>
void store_no_gradient(const AttentionBackward<T>& work, int64_t head, int64_t tile) {
  const BlockMaskRow& mask = *work.mask;
  const int64_t end = std::min((tile + 1) * mask.tile_q, mask.query_length);
  for (int64_t i = tile * mask.tile_q; i < end; ++i)
    std::fill_n(work.grad_q.data + i * work.grad_q.stride + head * work.head_dim, work.head_dim,
                AttentionCompute<T>{});
}

/// Turns a rectangle's scores into weights and the gradients of weights into those of scores, in
/// place. Where the mask hides a score, nothing may have been computed: both get 0.
template <class C, bool kScale, bool kMasked>
inline void backward_softmax(C* scores, C* grads, const KeyChunk<C>& chunk, const Rectangle& r,
                             C scale, const C* lse, const C* delta) {
  for (int64_t c = r.column_begin; c < r.column_end; c += kLanes<C>) {
    const Vector<C> shift = load(lse + c);
    const Vector<C> mean = load(delta + c);
    for (int64_t k = r.row_begin; k < r.row_end; ++k) {
      const Vector<C> score = finished_scores<C, kScale, kMasked>(scores, chunk, k, c, scale);
      const Vector<C> weight = exp2(score - shift);
      Vector<C> grad = weight * (load(grads + k * kBlock + c) - mean);
      if constexpr (kMasked) grad = visible_lanes(chunk, k, c) ? grad : Vector<C>{};
      store(scores + k * kBlock + c, weight);
      store(grads + k * kBlock + c, grad);
    }
  }
}

/// A tile of keys or values as left operands.
template <class P, class T>
typename P::LeftRows left_rows(AttentionOperand<const T> x, int64_t rows, int64_t dim,
                               std::byte* packed) {
  if constexpr (P::template kReadsInPlace<T>) {
    return typename P::LeftRows(x);
  } else {
    P::LeftRows::pack(x, rows, dim, packed);
    return typename P::LeftRows(packed, rows, dim);
  }
}

/// What the work on key tile `tile` will read from memory and write.
template <class T>
RowsToCome rows_of(const AttentionBackward<T>& work, int64_t head, int64_t tile,
                   const TileSlots& slots) {
  RowsToCome rows;
  const BlockMaskRow& mask = *work.mask;
  const int64_t begin = tile * mask.tile_k;
  const int64_t end = std::min(begin + mask.tile_k, mask.key_length);
  rows.add(work.k, begin, end, work.head_dim);
  rows.add(work.v, begin, end, work.value_dim);
  const TileLists& lists = mask.by_key;
  for (int64_t j = lists.partial_offsets[tile]; j < lists.partial_offsets[tile + 1]; ++j) {
    const int64_t query_tile = lists.partial_tiles[j];
    if (slots.holds(query_tile)) continue;
    const int64_t first = query_tile * mask.tile_q;
    const int64_t last = std::min(first + mask.tile_q, mask.query_length);
    const auto of_head = [&](auto x, int64_t dim) {
      x.data += head * dim;
      rows.add(x, first, last, dim);
    };
    of_head(work.q, work.head_dim);
    of_head(work.out, work.value_dim);
    of_head(work.grad_out, work.value_dim);
    of_head(work.grad_q, work.head_dim);
  }
  rows.add(work.grad_k, begin, end, work.head_dim);
  rows.add(work.grad_v, begin, end, work.value_dim);
  return rows;
}

template <class P, class T>
void attention_backward(const AttentionBackward<T>& work) {
  using C = AttentionCompute<T>;
  using Left = Strided<typename P::Element>;
  [[maybe_unused]] const typename P::Registers registers;
  const BlockMaskRow& mask = *work.mask;
  const int64_t k_stride = P::padded(work.head_dim);
  const int64_t v_stride = P::padded(work.value_dim);
  const int64_t key_begin = work.key_tile_begin * mask.tile_k;
  Carver carver(work.scratch);
  BackwardScratch<P, T> scratch(carver, mask, work.head_dim, work.value_dim);
  C* const weights = scratch.weights;
  C* const grads = scratch.grads;
  typename P::OperandScratch operands;

  for (int64_t h = 0; h < work.heads; ++h) {
    scratch.slots.start(mask, work.key_tile_begin, work.key_tile_end);
    for (int64_t tile = 0; tile < mask.query_tiles(); ++tile)
      if (!scratch.slots.is_visited(tile)) store_no_gradient(work, h, tile);
    for (int64_t tile = work.key_tile_begin; tile < work.key_tile_end; ++tile) {
      const int64_t begin = tile * mask.tile_k;
      const int64_t end = std::min(begin + mask.tile_k, mask.key_length);
      const int64_t rows = end - begin;
      P::SummedRows::pack(work.k.from(begin), rows, work.head_dim, scratch.k_summed);
      const typename P::SummedRows k_summed(scratch.k_summed, rows, work.head_dim);
      const auto k = left_rows<P>(work.k.from(begin), rows, work.head_dim, scratch.k_left);
      const auto v = left_rows<P>(work.v.from(begin), rows, work.value_dim, scratch.v);
      RowsToCome to_come;
      if (tile + 1 < work.key_tile_end) to_come = rows_of(work, h, tile + 1, scratch.slots);
      // Several heads gather in turn; one alone is done with a tile before the next.
      const int64_t gathered = work.heads == 1 ? 0 : begin - key_begin;
      C* const grad_k = scratch.grad_k + gathered * k_stride;
      C* const grad_v = scratch.grad_v + gathered * v_stride;
      if (h == 0) {
        std::fill_n(grad_k, (rows + scratch.kMostExtraRows) * k_stride, C{});
        std::fill_n(grad_v, (rows + scratch.kMostExtraRows) * v_stride, C{});
      }
      const auto visit_block = [&](QueryBlock block, int64_t place, int64_t entry) {
        const auto* q = scratch.q + place * kBlock * k_stride;
        const auto* grad_out = scratch.grad_out + place * kBlock * v_stride;
        const auto* q_transposed = scratch.q_transposed + place * kBlock * k_stride;
        const auto* grad_out_transposed = scratch.grad_out_transposed + place * kBlock * v_stride;
        typename P::QuerySums grad_q(scratch.grad_q + place * kBlock * k_stride, work.head_dim);
        for_each_chunk<P>(mask, block, begin, end, entry, [&](const KeyChunk<C>& chunk) {
          const int64_t own = chunk.begin - begin;
          to_come.ask(512);
          multiply_rows<P>(chunk, k, own, work.head_dim, q_transposed, weights);
          to_come.ask(512);
          multiply_rows<P>(chunk, v, own, work.value_dim, grad_out_transposed, grads);
          for (const Rectangle& r : chunk.by_columns) {
            const C* lse = scratch.lse + place * kBlock;
            const C* delta = scratch.delta + place * kBlock;
            const C scale = work.scale * kLog2e<C>;
            if (chunk.words == nullptr)
              backward_softmax<C, !P::kScalesQueries, false>(weights, grads, chunk, r, scale, lse,
                                                             delta);
            else
              backward_softmax<C, !P::kScalesQueries, true>(weights, grads, chunk, r, scale, lse,
                                                            delta);
            grad_q.add(grads, r, k_summed, own + r.row_begin, true, operands);
          }
          to_come.ask(512);
          for (const Rectangle& r : chunk.by_rows) {
            const int64_t row = own + r.row_begin;
            tile_product(r.rows(), v_stride, r.columns(),
                         Left{P::as_left(weights, r, operands), kBlock, 1},
                         grad_out + r.column_begin * v_stride, v_stride, grad_v + row * v_stride,
                         v_stride, true);
            tile_product(
                r.rows(), k_stride, r.columns(), Left{P::as_left(grads, r, operands), kBlock, 1},
                q + r.column_begin * k_stride, k_stride, grad_k + row * k_stride, k_stride, true);
          }
        });
      };
      const auto visit_tile = [&](int64_t query_tile, int64_t entry) {
        const auto [slot, fresh] = scratch.slots.enter(query_tile);
        if (fresh) load_query_tile(work, h, query_tile, slot, scratch);
        const int64_t blocks = blocks_per_tile(mask);
        for (int64_t i = 0; i < blocks; ++i)
          visit_block(block_at(mask, query_tile * blocks + i), slot * blocks + i, entry);
        if (scratch.slots.leave(query_tile)) store_query_tile(work, h, query_tile, slot, scratch);
      };
      const TileLists& lists = mask.by_key;
      for (int64_t j = lists.full_offsets[tile]; j < lists.full_offsets[tile + 1]; ++j)
        for (int64_t q = lists.full_ranges[2 * j]; q < lists.full_ranges[2 * j + 1]; ++q)
          visit_tile(q, -1);
      for (int64_t j = lists.partial_offsets[tile]; j < lists.partial_offsets[tile + 1]; ++j)
        visit_tile(lists.partial_tiles[j], mask.by_key_entries[j]);
      if (h + 1 == work.heads) {
        const auto scale = [&](int64_t /*row*/) { return work.scale; };
        const auto one = [](int64_t /*row*/) { return C{1}; };
        write_rows(grad_k, k_stride, rows, work.head_dim, scale, work.grad_k.from(begin));
        write_rows(grad_v, v_stride, rows, work.value_dim, one, work.grad_v.from(begin));
      }
    }
  }
}

}  // namespace coeus::COEUS_CPU_NAMESPACE
