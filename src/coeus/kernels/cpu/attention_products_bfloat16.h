// Attention's products in bfloat16. Only for files that are compiled once for each capability.
#pragma once

#include "coeus/kernels/cpu/attention_products.h"
#include "coeus/kernels/cpu/tile_product_bfloat16.h"

namespace coeus::COEUS_CPU_NAMESPACE {

/// Operands in bfloat16, right ones with two neighbours of the depth side by side; scores are
/// rounded to it before they are multiplied, as matrix units want.
struct BFloat16Products {
  using Element = BFloat16;
  using Compute = float;
  using Registers = TileRegisters;
  static constexpr int64_t kPair = 2;
  static constexpr int64_t kColumnStep = 32;
  static constexpr bool kScalesQueries = false;
  static constexpr int64_t padded(int64_t dim) { return round_up(dim, 32); }
  static constexpr int64_t depth(int64_t n) { return round_up(n, 32); }

  static BFloat16 element(float x) { return from_float<BFloat16>(x); }
  /// Neighbours of the depth move together, as the two halves of a float that is never computed
  /// with. The factor must be 1.
  static void transpose(const BFloat16* x, int64_t stride, int64_t count, int64_t dim,
                        float /*factor*/, BFloat16* out) {
    for (int64_t c = 0; c < count; c += 16)
      for (int64_t d = 0; d < dim; d += 32) {
        Vector<float> rows[16];
        for (int64_t i = 0; i < 16; ++i) {
          alignas(64) BFloat16 row[32] = {};
          if (c + i < count)
            std::memcpy(static_cast<void*>(row), x + (c + i) * stride + d,
                        2 * std::min<int64_t>(32, dim - d));
          std::memcpy(&rows[i], row, sizeof(row));
        }
        transpose_square<float>(rows);
        for (int64_t j = 0; j < 16 && d + 2 * j < dim; ++j)
          std::memcpy(static_cast<void*>(out + (d + 2 * j) * kBlock + 2 * c), &rows[j],
                      sizeof(rows[j]));
      }
  }

  /// Keys or values of a head twice, by row and by dim, each with its depth contiguous. Products
  /// read up to 32 rows past the last, which are zeros.
  class PackedRows {
   public:
    PackedRows(const std::byte* data, int64_t rows, int64_t dim)
        : by_row_(reinterpret_cast<const BFloat16*>(data)),
          by_dim_(by_row_ + padded_rows(rows) * padded(dim)),
          row_stride_(padded(dim)),
          dim_stride_(padded_rows(rows)) {}
    static int64_t bytes(int64_t rows, int64_t dim) {
      return 2 * padded_rows(rows) * padded(dim) * static_cast<int64_t>(sizeof(BFloat16));
    }
    static void pack(AttentionOperand<const BFloat16> x, int64_t rows, int64_t dim,
                     std::byte* packed) {
      std::fill_n(packed, bytes(rows, dim), std::byte{});
      auto* by_row = reinterpret_cast<BFloat16*>(packed);
      BFloat16* by_dim = by_row + padded_rows(rows) * padded(dim);
      for (int64_t i = 0; i < rows; ++i)
        std::copy_n(x.data + i * x.stride, dim, by_row + i * padded(dim));
      constexpr int64_t kTile = 32;
      for (int64_t i = 0; i < rows; i += kTile)
        for (int64_t d = 0; d < dim; ++d)
          for (int64_t j = i; j < std::min(i + kTile, rows); ++j)
            by_dim[d * padded_rows(rows) + j] = by_row[j * padded(dim) + d];
    }
    Strided<BFloat16> by_row(int64_t begin) const {
      return {by_row_ + begin * row_stride_, row_stride_, 1};
    }
    Strided<BFloat16> by_dim(int64_t begin) const { return {by_dim_ + begin, dim_stride_, 1}; }

   private:
    static constexpr int64_t padded_rows(int64_t rows) { return round_up(rows, 32) + 32; }
    const BFloat16* by_row_;
    const BFloat16* by_dim_;
    int64_t row_stride_;
    int64_t dim_stride_;
  };

  struct OperandScratch {
    alignas(64) BFloat16 right[kFullChunk * kBlock];
    alignas(64) BFloat16 left[kFullChunk * kBlock];
  };
  /// Keys become the depth, which zeros fill up to a multiple of 32.
  static const BFloat16* as_right(const float* scores, const KeyChunk<float>& chunk,
                                  OperandScratch& scratch) {
    for (int64_t k = 0; k < depth(chunk.count); k += 2)
      for (int64_t c = chunk.column_begin; c < chunk.column_end; c += 16) {
        const float* at = scores + k * kBlock + c;
        const __m512 even = k < chunk.count ? _mm512_loadu_ps(at) : _mm512_setzero_ps();
        const __m512 odd = k + 1 < chunk.count ? _mm512_loadu_ps(at + kBlock) : _mm512_setzero_ps();
        const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
        const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd));
        _mm512_storeu_si512(scratch.right + k * kBlock + 2 * c,
                            _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
      }
    return scratch.right;
  }
  /// Keys become the rows, which zeros fill up to a multiple of 16.
  static const BFloat16* as_left(const float* scores, const KeyChunk<float>& chunk,
                                 OperandScratch& scratch) {
    for (int64_t k = 0; k < round_up(chunk.count, 16); ++k)
      for (int64_t c = chunk.column_begin; c < chunk.column_end; c += 16) {
        const __m512 row =
            k < chunk.count ? _mm512_loadu_ps(scores + k * kBlock + c) : _mm512_setzero_ps();
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(scratch.left + k * kBlock + c),
                            (__m256i)_mm512_cvtneps_pbh(row));
      }
    return scratch.left;
  }
};

}  // namespace coeus::COEUS_CPU_NAMESPACE
