// How attention's products are computed: the forms that their operands take. Attention itself is
// written once, over a policy P, PlainProducts here or BFloat16Products:
//
//   Element, Compute   what operands hold, and what sums are kept in
//   tile_product       (found by its operands' type) out = A B for a left operand A, which is
//                      Strided<Element>, and a right operand B, [depth, columns]
//   kPair              how many neighbours of the depth stand side by side in a right operand
//   padded, depth      what a dim of operands, and the depth of a product, are rounded up to
//   kRowStep,          what rectangles of scores are rounded to, in keys and in queries
//   kColumnStep
//   transpose,         rows as right operands, with dims down and with tokens down
//   interleave
//   LeftRows           keys or values as left operands, tokens down
//   kReadsInPlace      whether they can be read where they stand
//   SummedRows         keys or values of which queries take weighted sums
//   QuerySums          those sums, kBlock padded(dim) values
//   as_left            scores [keys, queries] as a left operand
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

/// Copies `rows` rows of x, converted, to [rows, stride], with zeros behind dim.
template <class C, class T>
void copy_rows(AttentionOperand<const T> x, int64_t rows, int64_t dim, C* to, int64_t stride) {
  for (int64_t i = 0; i < rows; ++i, to += stride) {
    if (i + kRowsAhead < rows) prefetch_row(x, i + kRowsAhead, dim);
    const T* from = x.data + i * x.stride;
    int64_t d = 0;
    if constexpr (std::is_same_v<C, T>)
      for (; d + kLanes<C> <= dim; d += kLanes<C>) store(to + d, load(from + d));
    for (; d < dim; ++d) to[d] = as_compute(from[d]);
    for (; d < stride; ++d) to[d] = 0;
  }
}

/// Writes `rows` rows [rows, stride], row i times factor(i), converted.
template <class T, class C, class F>
void write_rows(const C* from, int64_t stride, int64_t rows, int64_t dim, const F& factor,
                AttentionOperand<T> to) {
  prefetch_rows(to, {0, std::min(kRowsAhead, rows)}, dim);
  for (int64_t i = 0; i < rows; ++i, from += stride) {
    if (i + kRowsAhead < rows) prefetch_row(to, i + kRowsAhead, dim);
    T* row = to.data + i * to.stride;
    const C by = factor(i);
    int64_t d = 0;
    if constexpr (std::is_same_v<C, T>)
      for (; d + kLanes<C> <= dim; d += kLanes<C>) store(row + d, load(from + d) * by);
    for (; d < dim; ++d) row[d] = from_compute<T>(from[d] * by);
  }
}

/// Operands in the type C that everything is computed in; scores serve as operands as they stand.
template <class C>
struct PlainProducts {
  using Element = C;
  using Compute = C;
  struct Registers {};
  /// Depth that one right-hand vector holds side by side.
  static constexpr int64_t kPair = 1;
  static constexpr int64_t kRowStep = 16;
  static constexpr int64_t kColumnStep = 16;
  /// Whether the scale can go into q without loss.
  static constexpr bool kScalesQueries = true;
  static constexpr int64_t padded(int64_t dim) { return round_up(dim, 16); }
  static constexpr int64_t depth(int64_t n) { return n; }

  /// Rows of x times `factor` as the right operand [dim, kBlock].
  template <class T>
  static void transpose(AttentionOperand<const T> x, int64_t count, int64_t dim, C factor, C* out) {
    transpose_in(x.data, x.stride, count, dim, factor, out);
  }
  /// Rows of x as the right operand [count, padded(dim)].
  template <class T>
  static void interleave(AttentionOperand<const T> x, int64_t count, int64_t dim, C* out) {
    copy_rows(x, count, dim, out, padded(dim));
  }

  /// Rows of keys or values, as they stand in memory or packed, [rows, padded(dim)].
  class Rows {
   public:
    explicit Rows(AttentionOperand<const C> x) : data_(x.data), stride_(x.stride) {}
    Rows(const std::byte* packed, int64_t /*rows*/, int64_t dim)
        : data_(reinterpret_cast<const C*>(packed)), stride_(padded(dim)) {}
    static int64_t bytes(int64_t rows, int64_t dim) {
      return rows * padded(dim) * static_cast<int64_t>(sizeof(C));
    }
    template <class T>
    static void pack(AttentionOperand<const T> x, int64_t rows, int64_t dim, std::byte* packed) {
      copy_rows(x, rows, dim, reinterpret_cast<C*>(packed), padded(dim));
    }
    const C* from(int64_t row) const { return data_ + row * stride_; }
    Strided<C> left(int64_t begin) const { return {from(begin), stride_, 1}; }

   private:
    const C* data_;
    int64_t stride_;
  };
  using LeftRows = Rows;
  using SummedRows = Rows;
  template <class T>
  static constexpr bool kReadsInPlace = std::is_same_v<C, T>;

  /// Memory for scores in the form of operands.
  struct OperandScratch {};
  static const C* as_left(const C* scores, const Rectangle& r, OperandScratch&) {
    return scores + r.place();
  }

  /// Sums of a block: [kBlock, padded(dim)].
  class QuerySums {
   public:
    QuerySums(C* data, int64_t dim) : data_(data), dim_(dim), stride_(padded(dim)) {}
    /// Sets the sums of queries [begin, end) to 0.
    void clear(int64_t begin, int64_t end) {
      std::fill_n(data_ + begin * stride_, (end - begin) * stride_, C{});
    }
    /// Multiplies the sums of the rectangle's queries, each by its factor.
    void multiply(const C* factors, const Rectangle& r) {
      for (int64_t c = r.column_begin; c < r.column_end; ++c) {
        if (factors[c] == C{1}) continue;
        C* sum = data_ + c * stride_;
        for (int64_t d = 0; d < stride_; d += kLanes<C>) store(sum + d, load(sum + d) * factors[c]);
      }
    }
    /// Makes the sums of the rectangle's queries, or adds to them, its `weights` times rows of
    /// tokens, packed, of which its first is number `begin`.
    void add(const C* weights, const Rectangle& r, const SummedRows& rows, int64_t begin,
             bool accumulate, OperandScratch&) {
      tile_product(r.columns(), stride_, r.rows(), Strided<C>{weights + r.place(), 1, kBlock},
                   rows.from(begin), stride_, data_ + r.column_begin * stride_, stride_,
                   accumulate);
    }
    /// Writes the sums of the first `count` queries, each times its factor.
    template <class T>
    void write(const C* factors, int64_t count, AttentionOperand<T> to) const {
      write_rows(
          data_, stride_, count, dim_, [&](int64_t c) { return factors[c]; }, to);
    }

   private:
    C* data_;
    int64_t dim_;
    int64_t stride_;
  };
};

/// The block's rows of x, times `factor`, as the right operand [padded(dim), kBlock]: dim is the
/// depth. Zeros where there is no query.
template <class P, class T>
void pack_right_transposed(AttentionOperand<const T> x, QueryBlock block, int64_t dim,
                           AttentionCompute<T> factor, typename P::Element* out) {
  if (block.count < kBlock || dim < P::padded(dim))
    std::fill_n(out, P::padded(dim) * kBlock, typename P::Element{});
  P::transpose(x.from(block.begin), block.count, dim, factor, out);
}

/// The same as the right operand [kBlock, padded(dim)]: queries are the depth.
template <class P, class T>
void pack_right(AttentionOperand<const T> x, QueryBlock block, int64_t dim,
                typename P::Element* out) {
  const int64_t stride = P::padded(dim);
  if (block.count < kBlock || dim < stride)
    std::fill_n(out, stride * kBlock, typename P::Element{});
  P::interleave(x.from(block.begin), block.count, dim, out);
}

/// scores = the left operand's rows times `right` [dim, kBlock], where the chunk's queries see any.
template <class P>
void multiply_rows(const KeyChunk<typename P::Compute>& chunk, const typename P::LeftRows& rows,
                   int64_t begin, int64_t dim, const typename P::Element* right,
                   typename P::Compute* scores) {
  for (const Rectangle& r : chunk.by_rows)
    tile_product(r.rows(), r.columns(), P::depth(dim), rows.left(begin + r.row_begin),
                 right + r.column_begin * P::kPair, kBlock, scores + r.place(), kBlock, false);
}

}  // namespace coeus::COEUS_CPU_NAMESPACE
