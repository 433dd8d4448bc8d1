// How attention's products are computed: the forms that their operands take. Attention itself is
// written once, over a policy P, PlainProducts here or BFloat16Products:
//
//   Element, Compute   what operands hold, and what sums are kept in
//   tile_product       (found by its operands' type) out = A B for a left operand A, which is
//                      Strided<Element>, and a right operand B, [depth, columns]
//   kPair              how many neighbours of the depth stand side by side in a right operand
//   padded, depth      what a dim of operands, and the depth of a product, are rounded up to
//   kColumnStep        what ranges of columns are rounded to
//   PackedRows         keys or values, packed once for all their products: by_row and by_dim are
//                      the left operands with tokens down and with dims down
//   as_left, as_right  scores [keys, queries] as operands
//
// Only for files that are compiled once for each capability.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "coeus/kernels/cpu/attention_block.h"
#include "coeus/kernels/cpu/tile_product.h"
#include "coeus/kernels/cpu/transpose.h"

namespace coeus::COEUS_CPU_NAMESPACE {

constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

/// Operands in the type C that everything is computed in; scores serve as operands as they stand.
template <class C>
struct PlainProducts {
  using Element = C;
  using Compute = C;
  struct Registers {};
  /// Depth that one right-hand vector holds side by side.
  static constexpr int64_t kPair = 1;
  static constexpr int64_t kColumnStep = kLanes<C>;
  /// Whether the scale can go into q without loss.
  static constexpr bool kScalesQueries = true;
  static constexpr int64_t padded(int64_t dim) { return round_up(dim, 16); }
  static constexpr int64_t depth(int64_t n) { return n; }

  static C element(C x) { return x; }
  template <class T>
  static void transpose(const T* x, int64_t stride, int64_t count, int64_t dim, C factor, C* out) {
    transpose_in(x, stride, count, dim, factor, out);
  }

  /// Keys or values of a head, [rows, padded(dim)].
  class PackedRows {
   public:
    PackedRows(const std::byte* data, int64_t /*rows*/, int64_t dim)
        : data_(reinterpret_cast<const C*>(data)), stride_(padded(dim)) {}
    static int64_t bytes(int64_t rows, int64_t dim) {
      return rows * padded(dim) * static_cast<int64_t>(sizeof(C));
    }
    template <class T>
    static void pack(AttentionOperand<const T> x, int64_t rows, int64_t dim, std::byte* packed) {
      C* to = reinterpret_cast<C*>(packed);
      for (int64_t i = 0; i < rows; ++i, to += padded(dim)) {
        if (i + kRowsAhead < rows) prefetch_row(x, i + kRowsAhead, dim);
        const T* from = x.data + i * x.stride;
        for (int64_t d = 0; d < dim; ++d) to[d] = as_compute(from[d]);
        std::fill(to + dim, to + padded(dim), C{});
      }
    }
    /// As a left operand from row `begin` on: rows down, dim along.
    Strided<C> by_row(int64_t begin) const { return {data_ + begin * stride_, stride_, 1}; }
    /// The same transposed: dim down, rows along.
    Strided<C> by_dim(int64_t begin) const { return {data_ + begin * stride_, 1, stride_}; }

   private:
    const C* data_;
    int64_t stride_;
  };

  /// Memory for scores in the form of operands.
  struct OperandScratch {};
  static const C* as_right(const C* scores, const KeyChunk<C>& /*chunk*/, OperandScratch&) {
    return scores;
  }
  static const C* as_left(const C* scores, const KeyChunk<C>& /*chunk*/, OperandScratch&) {
    return scores;
  }
};

/// Where element (k, n) of a right operand with `stride` elements a step of depth lies.
template <class P>
constexpr int64_t right_place(int64_t k, int64_t n, int64_t stride) {
  return k / P::kPair * P::kPair * stride + n * P::kPair + k % P::kPair;
}

/// The block's rows of x, times `factor`, as the right operand [padded(dim), kBlock]: dim is the
/// depth. Zeros where there is no query.
template <class P, class T>
void pack_right_transposed(AttentionOperand<const T> x, QueryBlock block, int64_t dim,
                           AttentionCompute<T> factor, typename P::Element* out) {
  if (block.count < kBlock || dim < P::padded(dim))
    std::fill_n(out, P::padded(dim) * kBlock, typename P::Element{});
  P::transpose(x.data + block.begin * x.stride, x.stride, block.count, dim, factor, out);
}

/// The same as the right operand [kBlock, padded(dim)]: queries are the depth.
template <class P, class T>
void pack_right(AttentionOperand<const T> x, QueryBlock block, int64_t dim,
                typename P::Element* out) {
  const int64_t stride = P::padded(dim);
  if (block.count < kBlock || dim < stride)
    std::fill_n(out, stride * kBlock, typename P::Element{});
  for (int64_t c = 0; c < block.count; ++c) {
    const T* row = x.data + (block.begin + c) * x.stride;
    for (int64_t d = 0; d < dim; ++d)
      out[right_place<P>(c, d, stride)] = P::element(as_compute(row[d]));
  }
}

}  // namespace coeus::COEUS_CPU_NAMESPACE
