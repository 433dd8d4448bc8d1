// The product of attention's tiles in bfloat16, accumulated in float, by AMX (Intel) or AVX512_BF16
// instructions: both take two neighbours of the depth at once. Only for files that are compiled
// once for each capability.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "coeus/kernels/bfloat16.h"
#include "coeus/kernels/cpu/tile_product.h"

namespace coeus::COEUS_CPU_NAMESPACE {

// Both forms of it compute
//
//   tile_product(rows, columns, depth, a, b, b_stride, out, out_stride, accumulate)
//
// out = A B, or out += A B: A is [rows, depth] with unit column stride, B [depth, columns] with
// element (k, n) at b[k / 2 * 2 * b_stride + 2 * n + k % 2]. `columns` and `depth` are multiples of
// kProductStep; rows of A are read and rows of out written up to the next multiple of 16.

#if defined(__AMX_BF16__)

constexpr int64_t kProductStep = 32;

/// The shape of the tile registers, all alike: 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/// Holds the tile registers for as long as it lives.
class TileRegisters {
 public:
  TileRegisters() {
    static constexpr TileConfig kConfig;
    _tile_loadconfig(&kConfig);
  }
  ~TileRegisters() { _tile_release(); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

/// 16 or 32 rows (kTall) x 32 columns of results.
template <bool kTall>
inline void product_block(int64_t depth, Strided<BFloat16> a, const BFloat16* b, int64_t b_stride,
                          float* out, int64_t out_stride, bool accumulate) {
  // What tiles load was stored through pointers that the compiler does not see them read.
  asm volatile("" ::: "memory");
  const int64_t out_bytes = out_stride * 4;
  const int64_t a_bytes = a.row_stride * 2;
  const int64_t b_bytes = b_stride * 4;
  if (accumulate) {
    _tile_loadd(0, out, out_bytes);
    _tile_loadd(1, out + 16, out_bytes);
    if constexpr (kTall) {
      _tile_loadd(2, out + 16 * out_stride, out_bytes);
      _tile_loadd(3, out + 16 * out_stride + 16, out_bytes);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kTall) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  for (int64_t k = 0; k < depth; k += 32) {
    _tile_loadd(4, a.data + k, a_bytes);
    _tile_loadd(6, b + k * b_stride, b_bytes);
    _tile_loadd(7, b + k * b_stride + 32, b_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kTall) {
      _tile_loadd(5, a.data + 16 * a.row_stride + k, a_bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, out, out_bytes);
  _tile_stored(1, out + 16, out_bytes);
  if constexpr (kTall) {
    _tile_stored(2, out + 16 * out_stride, out_bytes);
    _tile_stored(3, out + 16 * out_stride + 16, out_bytes);
  }
}

inline void tile_product(int64_t rows, int64_t columns, int64_t depth, Strided<BFloat16> a,
                         const BFloat16* b, int64_t b_stride, float* out, int64_t out_stride,
                         bool accumulate) {
  for (int64_t n = 0; n < columns; n += 32) {
    int64_t m = 0;
    for (; m + 16 < rows; m += 32)
      product_block<true>(depth, {a.data + m * a.row_stride, a.row_stride, 1}, b + 2 * n, b_stride,
                          out + m * out_stride + n, out_stride, accumulate);
    if (m < rows)
      product_block<false>(depth, {a.data + m * a.row_stride, a.row_stride, 1}, b + 2 * n, b_stride,
                           out + m * out_stride + n, out_stride, accumulate);
  }
}

#else

constexpr int64_t kProductStep = 16;

struct TileRegisters {};

template <int kRows, int kVectors>
inline void product_block(int64_t depth, Strided<BFloat16> a, const BFloat16* b, int64_t b_stride,
                          float* out, int64_t out_stride, bool accumulate) {
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n)
      sums[m][n] =
          accumulate ? _mm512_loadu_ps(out + m * out_stride + n * 16) : _mm512_setzero_ps();
  for (int64_t k = 0; k < depth; k += 2) {
    __m512bh row[kVectors];
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n)
      row[n] = (__m512bh)_mm512_loadu_si512(b + k * b_stride + n * 32);
#pragma GCC unroll 16
    for (int m = 0; m < kRows; ++m) {
      int32_t pair;
      std::memcpy(&pair, a.data + m * a.row_stride + k, sizeof(pair));
      const auto factor = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 8
      for (int n = 0; n < kVectors; ++n) sums[m][n] = _mm512_dpbf16_ps(sums[m][n], factor, row[n]);
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 8
    for (int n = 0; n < kVectors; ++n) _mm512_storeu_ps(out + m * out_stride + n * 16, sums[m][n]);
}

template <int kRows, int kVectors>
inline void product_rows(int64_t rows, int64_t depth, Strided<BFloat16> a, const BFloat16* b,
                         int64_t b_stride, float* out, int64_t out_stride, bool accumulate) {
  while (rows >= kRows) {
    product_block<kRows, kVectors>(depth, a, b, b_stride, out, out_stride, accumulate);
    a.data += kRows * a.row_stride;
    out += kRows * out_stride;
    rows -= kRows;
  }
  if constexpr (kRows > 1) {
    if (rows > 0)
      product_rows<kRows - 1, kVectors>(rows, depth, a, b, b_stride, out, out_stride, accumulate);
  }
}

inline void tile_product(int64_t rows, int64_t columns, int64_t depth, Strided<BFloat16> a,
                         const BFloat16* b, int64_t b_stride, float* out, int64_t out_stride,
                         bool accumulate) {
  for (; columns >= 64; columns -= 64, b += 128, out += 64)
    product_rows<6, 4>(rows, depth, a, b, b_stride, out, out_stride, accumulate);
  if (columns == 48) product_rows<8, 3>(rows, depth, a, b, b_stride, out, out_stride, accumulate);
  if (columns == 32) product_rows<12, 2>(rows, depth, a, b, b_stride, out, out_stride, accumulate);
  if (columns == 16) product_rows<16, 1>(rows, depth, a, b, b_stride, out, out_stride, accumulate);
}

#endif

}  // namespace coeus::COEUS_CPU_NAMESPACE
