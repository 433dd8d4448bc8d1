// The one matrix product that attention's tiles are made of, in float or double. Only for files
// that are compiled once for each capability.
#pragma once

#include <cstdint>

#include "coeus/kernels/cpu/vector.h"

namespace coeus::COEUS_CPU_NAMESPACE {

/// The rows and vectors of the block of results that stays in registers.
#if defined(__AVX512F__)
constexpr int kBlockRows = 6;
constexpr int kBlockVectors = 4;
#else
constexpr int kBlockRows = 6;
constexpr int kBlockVectors = 2;
#endif

/// A matrix whose element (m, k) is data[m * row_stride + k * column_stride].
template <class E>
struct Strided {
  const E* data;
  int64_t row_stride;
  int64_t column_stride;
};

/// kRows x (kVectors * kLanes) results over all of `depth`. One of A's strides is 1; saying which
/// (kUnitRows: the row's) spares address arithmetic.
template <class C, int kRows, int kVectors, bool kUnitRows>
inline void product_block(int64_t depth, Strided<C> a, const C* b, int64_t b_stride, C* out,
                          int64_t out_stride, bool accumulate) {
  const int64_t row_stride = kUnitRows ? 1 : a.row_stride;
  const int64_t column_stride = kUnitRows ? a.column_stride : 1;
  Vector<C> sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) sums[m][n] = Vector<C>{};
  for (int64_t k = 0; k < depth; ++k) {
    Vector<C> row[kVectors];
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) row[n] = load(b + k * b_stride + n * kLanes<C>);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      const Vector<C> factor = broadcast(a.data[m * row_stride + k * column_stride]);
#pragma GCC unroll 8
      for (int n = 0; n < kVectors; ++n) sums[m][n] += factor * row[n];
    }
  }
  // What was there is added last: sums of sums lose less to rounding than one long sum.
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) {
      C* at = out + m * out_stride + n * kLanes<C>;
      store(at, accumulate ? load(at) + sums[m][n] : sums[m][n]);
    }
}

template <class C, int kRows, int kVectors, bool kUnitRows>
inline void product_rows(int64_t rows, int64_t depth, Strided<C> a, const C* b, int64_t b_stride,
                         C* out, int64_t out_stride, bool accumulate) {
  while (rows >= kRows) {
    product_block<C, kRows, kVectors, kUnitRows>(depth, a, b, b_stride, out, out_stride,
                                                 accumulate);
    a.data += kRows * (kUnitRows ? 1 : a.row_stride);
    out += kRows * out_stride;
    rows -= kRows;
  }
  if constexpr (kRows > 1) {
    if (rows > 0)
      product_rows<C, kRows - 1, kVectors, kUnitRows>(rows, depth, a, b, b_stride, out, out_stride,
                                                      accumulate);
  }
}

template <class C, int kVectors, bool kUnitRows>
inline void product_columns(int64_t rows, int64_t columns, int64_t depth, Strided<C> a, const C* b,
                            int64_t b_stride, C* out, int64_t out_stride, bool accumulate) {
  constexpr int64_t kWidth = kVectors * kLanes<C>;
  while (columns >= kWidth) {
    product_rows<C, kBlockRows, kVectors, kUnitRows>(rows, depth, a, b, b_stride, out, out_stride,
                                                     accumulate);
    b += kWidth;
    out += kWidth;
    columns -= kWidth;
  }
  if constexpr (kVectors > 1) {
    if (columns > 0)
      product_columns<C, kVectors - 1, kUnitRows>(rows, columns, depth, a, b, b_stride, out,
                                                  out_stride, accumulate);
  }
}

/// out = A B, or out += A B: A is [rows, depth], B [depth, columns], `columns` a multiple of
/// kLanes. A has unit stride along its rows or its columns.
template <class C>
inline void tile_product(int64_t rows, int64_t columns, int64_t depth, Strided<C> a, const C* b,
                         int64_t b_stride, C* out, int64_t out_stride, bool accumulate) {
  if (a.row_stride == 1)
    product_columns<C, kBlockVectors, true>(rows, columns, depth, a, b, b_stride, out, out_stride,
                                            accumulate);
  else
    product_columns<C, kBlockVectors, false>(rows, columns, depth, a, b, b_stride, out, out_stride,
                                             accumulate);
}

}  // namespace coeus::COEUS_CPU_NAMESPACE
