// Flash attention backward for a range of key tiles. Only for files that are compiled once for each
// capability.
#pragma once

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

/// What backward works in. Of one query head it keeps the operands in the forms that the products
/// take, block by block.
template <class P>
struct BackwardScratch {
  using C = typename P::Compute;
  using E = typename P::Element;

  BackwardScratch(Carver& from, const BlockMaskRow& mask, int64_t head_dim, int64_t value_dim) {
    const int64_t columns = mask.query_tiles() * blocks_per_tile(mask) * kBlock;
    const int64_t rows = mask.key_length + kMostExtraRows;
    q = from.take<E>(columns * P::padded(head_dim));
    grad_out = from.take<E>(columns * P::padded(value_dim));
    q_transposed = from.take<E>(columns * P::padded(head_dim));
    grad_out_transposed = from.take<E>(columns * P::padded(value_dim));
    grad_q_transposed = from.take<C>(columns * P::padded(head_dim));
    lse = from.take<C>(columns);
    delta = from.take<C>(columns);
    grad_k = from.take<C>(rows * P::padded(head_dim));
    grad_v = from.take<C>(rows * P::padded(value_dim));
    weights = from.take<C>(kFullChunk * kBlock);
    grads = from.take<C>(kFullChunk * kBlock);
  }
  static int64_t bytes(const BlockMaskRow& mask, int64_t head_dim, int64_t value_dim) {
    Carver counter(nullptr);
    BackwardScratch(counter, mask, head_dim, value_dim);
    return counter.taken();
  }

  /// Products may write whole groups of 16 rows.
  static constexpr int64_t kMostExtraRows = 16;

  E* q;                    ///< [blocks, kBlock, padded head_dim]
  E* grad_out;             ///< [blocks, kBlock, padded value_dim]
  E* q_transposed;         ///< [blocks, padded head_dim, kBlock]
  E* grad_out_transposed;  ///< [blocks, padded value_dim, kBlock]
  C* grad_q_transposed;    ///< [blocks, padded head_dim, kBlock]
  C* lse;                  ///< [blocks, kBlock], in powers of two
  C* delta;                ///< [blocks, kBlock], grad_out . out of each query
  C* grad_k;               ///< [keys, padded head_dim]
  C* grad_v;               ///< [keys, padded value_dim]
  C* weights;              ///< [kFullChunk, kBlock]
  C* grads;                ///< [kFullChunk, kBlock]
};

template <class P, class T>
void load_query_head(const AttentionBackward<T>& work, int64_t head, const BackwardScratch<P>& to) {
  using C = AttentionCompute<T>;
  const BlockMaskRow& mask = *work.mask;
  const AttentionOperand<const T> q{work.q.data + head * work.head_dim, work.q.stride};
  const AttentionOperand<const T> out{work.out.data + head * work.value_dim, work.out.stride};
  const AttentionOperand<const T> grad_out{work.grad_out.data + head * work.value_dim,
                                           work.grad_out.stride};
  const C* lse = work.lse + head * mask.query_length;
  const int64_t q_size = kBlock * P::padded(work.head_dim);
  const int64_t v_size = kBlock * P::padded(work.value_dim);
  std::fill_n(to.grad_q_transposed, mask.query_tiles() * blocks_per_tile(mask) * q_size, C{});
  for (int64_t place = 0; place < mask.query_tiles() * blocks_per_tile(mask); ++place) {
    const QueryBlock block = block_at(mask, place);
    pack_right<P>(q, block, work.head_dim, to.q + place * q_size);
    pack_right<P>(grad_out, block, work.value_dim, to.grad_out + place * v_size);
    pack_right_transposed<P>(q, block, work.head_dim,
                             P::kScalesQueries ? work.scale * kLog2e<C> : C{1},
                             to.q_transposed + place * q_size);
    pack_right_transposed<P>(grad_out, block, work.value_dim, C{1},
                             to.grad_out_transposed + place * v_size);
    for (int64_t c = 0; c < kBlock; ++c) {
      const bool real = c < block.count;
      const int64_t i = block.begin + c;
      // 2^(score - inf) is 0: columns without a query, or whose query sees nothing, weigh nothing.
      const C log = real ? lse[i] * kLog2e<C> : kInfinity<C>;
      to.lse[place * kBlock + c] = log == -kInfinity<C> ? kInfinity<C> : log;
      C delta = 0;
      if (real)
#pragma omp simd reduction(+ : delta)
        for (int64_t d = 0; d < work.value_dim; ++d)
          delta += as_compute(out.data[i * out.stride + d]) *
                   as_compute(grad_out.data[i * grad_out.stride + d]);
      to.delta[place * kBlock + c] = delta;
    }
  }
}

/// Turns finished scores into weights, in place.
template <class C>
inline void weigh(C* scores, const KeyChunk<C>& chunk, const C* lse) {
  for (int64_t c = chunk.column_begin; c < chunk.column_end; c += kLanes<C>) {
    const Vector<C> shift = load(lse + c);
    for (int64_t k = 0; k < chunk.count; ++k) {
      C* at = scores + k * kBlock + c;
      store(at, exp2(load(at) - shift));
    }
  }
}

/// From the gradients of the weights to those of the scores, in place.
template <class C>
inline void backward_softmax(C* grads, const C* weights, const KeyChunk<C>& chunk, const C* delta) {
  for (int64_t c = chunk.column_begin; c < chunk.column_end; c += kLanes<C>) {
    const Vector<C> mean = load(delta + c);
    for (int64_t k = 0; k < chunk.count; ++k) {
      C* at = grads + k * kBlock + c;
      store(at, load(weights + k * kBlock + c) * (load(at) - mean));
    }
  }
}

template <class P, class T>
void attention_backward(const AttentionBackward<T>& work) {
  using C = AttentionCompute<T>;
  using Left = Strided<typename P::Element>;
  [[maybe_unused]] const typename P::Registers registers;
  const BlockMaskRow& mask = *work.mask;
  const typename P::PackedRows k(work.k, mask.key_length, work.head_dim);
  const typename P::PackedRows v(work.v, mask.key_length, work.value_dim);
  const int64_t k_stride = P::padded(work.head_dim);
  const int64_t v_stride = P::padded(work.value_dim);
  const int64_t key_begin = work.key_tile_begin * mask.tile_k;
  const int64_t key_end = std::min(work.key_tile_end * mask.tile_k, mask.key_length);
  const int64_t blocks = mask.query_tiles() * blocks_per_tile(mask);
  Carver carver(work.scratch);
  const BackwardScratch<P> scratch(carver, mask, work.head_dim, work.value_dim);
  C* const weights = scratch.weights;
  C* const grads = scratch.grads;
  const int64_t rows = key_end - key_begin + scratch.kMostExtraRows;
  std::fill_n(scratch.grad_k, rows * k_stride, C{});
  std::fill_n(scratch.grad_v, rows * v_stride, C{});
  typename P::OperandScratch operands;
  alignas(64) C factors[kBlock];
  std::fill_n(factors, kBlock, work.scale);

  for (int64_t h = 0; h < work.heads; ++h) {
    load_query_head(work, h, scratch);
    const auto visit_block = [&](int64_t place, int64_t begin, int64_t end, int64_t entry) {
      const auto* q = scratch.q + place * kBlock * k_stride;
      const auto* grad_out = scratch.grad_out + place * kBlock * v_stride;
      const auto* q_transposed = scratch.q_transposed + place * kBlock * k_stride;
      const auto* grad_out_transposed = scratch.grad_out_transposed + place * kBlock * v_stride;
      C* grad_q_transposed = scratch.grad_q_transposed + place * kBlock * k_stride;
      for_each_chunk<C, P::kColumnStep>(
          mask, block_at(mask, place), begin, end, entry, [&](const KeyChunk<C>& chunk) {
            const int64_t first = chunk.column_begin;
            const int64_t columns = chunk.column_end - first;
            const int64_t own = chunk.begin - key_begin;
            tile_product(chunk.count, columns, P::depth(work.head_dim), k.by_row(chunk.begin),
                         q_transposed + first * P::kPair, kBlock, weights + first, kBlock, false);
            finish_scores<C, !P::kScalesQueries>(weights, chunk, work.scale * kLog2e<C>);
            weigh(weights, chunk, scratch.lse + place * kBlock);
            tile_product(chunk.count, v_stride, columns,
                         Left{P::as_left(weights, chunk, operands) + first, kBlock, 1},
                         grad_out + first * v_stride, v_stride, scratch.grad_v + own * v_stride,
                         v_stride, true);
            tile_product(chunk.count, columns, P::depth(work.value_dim), v.by_row(chunk.begin),
                         grad_out_transposed + first * P::kPair, kBlock, grads + first, kBlock,
                         false);
            backward_softmax(grads, weights, chunk, scratch.delta + place * kBlock);
            tile_product(chunk.count, k_stride, columns,
                         Left{P::as_left(grads, chunk, operands) + first, kBlock, 1},
                         q + first * k_stride, k_stride, scratch.grad_k + own * k_stride, k_stride,
                         true);
            tile_product(work.head_dim, columns, P::depth(chunk.count), k.by_dim(chunk.begin),
                         P::as_right(grads, chunk, operands) + first * P::kPair, kBlock,
                         grad_q_transposed + first, kBlock, true);
          });
    };
    const auto visit_tile = [&](int64_t query_tile, int64_t begin, int64_t end, int64_t entry) {
      for (int64_t i = 0; i < blocks_per_tile(mask); ++i)
        visit_block(query_tile * blocks_per_tile(mask) + i, begin, end, entry);
    };
    const TileLists& lists = mask.by_key;
    for (int64_t tile = work.key_tile_begin; tile < work.key_tile_end; ++tile) {
      const int64_t begin = tile * mask.tile_k;
      const int64_t end = std::min(begin + mask.tile_k, mask.key_length);
      for (int64_t j = lists.full_offsets[tile]; j < lists.full_offsets[tile + 1]; ++j)
        for (int64_t q = lists.full_ranges[2 * j]; q < lists.full_ranges[2 * j + 1]; ++q)
          visit_tile(q, begin, end, -1);
      for (int64_t j = lists.partial_offsets[tile]; j < lists.partial_offsets[tile + 1]; ++j)
        visit_tile(lists.partial_tiles[j], begin, end, mask.by_key_entries[j]);
    }
    for (int64_t place = 0; place < blocks; ++place) {
      const QueryBlock block = block_at(mask, place);
      transpose_out(scratch.grad_q_transposed + place * kBlock * k_stride, factors, block.count,
                    work.head_dim,
                    work.grad_q.data + block.begin * work.grad_q.stride + h * work.head_dim,
                    work.grad_q.stride);
    }
  }
  for (int64_t i = 0; i < key_end - key_begin; ++i) {
    T* k_to = work.grad_k.data + (key_begin + i) * work.grad_k.stride;
    T* v_to = work.grad_v.data + (key_begin + i) * work.grad_v.stride;
    for (int64_t d = 0; d < work.head_dim; ++d)
      k_to[d] = from_compute<T>(scratch.grad_k[i * k_stride + d] * work.scale);
    for (int64_t d = 0; d < work.value_dim; ++d)
      v_to[d] = from_compute<T>(scratch.grad_v[i * v_stride + d]);
  }
}

}  // namespace coeus::COEUS_CPU_NAMESPACE
