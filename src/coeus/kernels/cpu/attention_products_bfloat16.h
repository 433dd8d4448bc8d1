// Attention's products in bfloat16. Only for files that are compiled once for each capability.
#pragma once

#include "coeus/kernels/cpu/attention_products.h"
#include "coeus/kernels/cpu/tile_product_bfloat16.h"

namespace coeus::COEUS_CPU_NAMESPACE {

/// Operands in bfloat16, right ones with two neighbours of the depth side by side; scores are
/// rounded to it before they are multiplied, as matrix units want.
struct BFloat16Products {
 private:
  static void store_pairs(Vector<float> pairs, BFloat16* to) {
    std::memcpy(static_cast<void*>(to), &pairs, sizeof(pairs));
  }
  /// Row `i` from dim `d` on: 16 values, zeros outside of [rows, dim].
  static __m256i row_part(AttentionOperand<const BFloat16> x, int64_t i, int64_t rows, int64_t d,
                          int64_t dim) {
    const BFloat16* at = x.data + i * x.stride + d;
    if (i < rows && d + 16 <= dim) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    alignas(32) BFloat16 part[16] = {};
    if (i < rows && d < dim) std::copy_n(at, std::min<int64_t>(16, dim - d), part);
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(part));
  }
  /// Rows `i` and `i + 1` side by side.
  static Vector<float> pairs_of_rows(AttentionOperand<const BFloat16> x, int64_t i, int64_t rows,
                                     int64_t d, int64_t dim) {
    const __m512i low = _mm512_cvtepu16_epi32(row_part(x, i, rows, d, dim));
    const __m512i high = _mm512_cvtepu16_epi32(row_part(x, i + 1, rows, d, dim));
    return (Vector<float>)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
  }

 public:
  using Element = BFloat16;
  using Compute = float;
  using Registers = TileRegisters;
  static constexpr int64_t kPair = 2;
  static constexpr int64_t kRowStep = kProductStep;
  static constexpr int64_t kColumnStep = kProductStep;
  static constexpr bool kScalesQueries = false;
  static constexpr int64_t padded(int64_t dim) { return round_up(dim, 32); }
  static constexpr int64_t depth(int64_t n) { return round_up(n, kProductStep); }
  /// Rows that packed keys or values stand in.
  static constexpr int64_t padded_rows(int64_t rows) { return round_up(rows, 32) + 32; }

  /// Neighbours of the depth move together, as the two halves of a float that is never computed
  /// with. The factor must be 1.
  static void transpose(AttentionOperand<const BFloat16> x, int64_t count, int64_t dim,
                        float /*factor*/, BFloat16* out) {
    for (int64_t c = 0; c < count; c += 16)
      for (int64_t d = 0; d < dim; d += 32) {
        const bool whole = c + 16 <= count && d + 32 <= dim;
        move_square<float>(
            [&](int64_t i) {
              const BFloat16* row = x.data + (c + i) * x.stride + d;
              alignas(64) BFloat16 part[32] = {};
              if (!whole && c + i < count) std::copy_n(row, std::min<int64_t>(32, dim - d), part);
              return load(reinterpret_cast<const float*>(whole ? row : part));
            },
            [&](int64_t j, Vector<float> row) {
              if (d + 2 * j < dim) store_pairs(row, out + (d + 2 * j) * kBlock + 2 * c);
            });
      }
  }
  /// Rows as the right operand [count, padded(dim)].
  static void interleave(AttentionOperand<const BFloat16> x, int64_t count, int64_t dim,
                         BFloat16* out) {
    for (int64_t c = 0; c < count; c += 2)
      for (int64_t d = 0; d < dim; d += 16)
        store_pairs(pairs_of_rows(x, c, count, d, dim), out + c * padded(dim) + 2 * d);
  }

  /// Rows of keys or values, [rows, padded(dim)]. Products read up to 32 rows past the last, which
  /// are zeros.
  class LeftRows {
   public:
    LeftRows(const std::byte* packed, int64_t /*rows*/, int64_t dim)
        : data_(reinterpret_cast<const BFloat16*>(packed)), stride_(padded(dim)) {}
    static int64_t bytes(int64_t rows, int64_t dim) {
      return padded_rows(rows) * padded(dim) * static_cast<int64_t>(sizeof(BFloat16));
    }
    static void pack(AttentionOperand<const BFloat16> x, int64_t rows, int64_t dim,
                     std::byte* packed) {
      auto* to = reinterpret_cast<BFloat16*>(packed);
      for (int64_t i = 0; i < rows; ++i) {
        if (i + kRowsAhead < rows) prefetch_row(x, i + kRowsAhead, dim);
        std::copy_n(x.data + i * x.stride, dim, to + i * padded(dim));
        std::fill(to + i * padded(dim) + dim, to + (i + 1) * padded(dim), BFloat16{});
      }
      std::fill(to + rows * padded(dim), to + padded_rows(rows) * padded(dim), BFloat16{});
    }
    Strided<BFloat16> left(int64_t begin) const { return {data_ + begin * stride_, stride_, 1}; }

   private:
    const BFloat16* data_;
    int64_t stride_;
  };
  template <class T>
  static constexpr bool kReadsInPlace = false;

  /// The same with dims down, [padded(dim), rows], zeros likewise.
  class SummedRows {
   public:
    SummedRows(const std::byte* packed, int64_t rows, int64_t /*dim*/)
        : data_(reinterpret_cast<const BFloat16*>(packed)), stride_(padded_rows(rows)) {}
    static int64_t bytes(int64_t rows, int64_t dim) { return LeftRows::bytes(rows, dim); }
    static void pack(AttentionOperand<const BFloat16> x, int64_t rows, int64_t dim,
                     std::byte* packed) {
      auto* to = reinterpret_cast<BFloat16*>(packed);
      const int64_t stride = padded_rows(rows);
      for (int64_t i = 0; i < stride; i += 32) {
        prefetch_rows(x, {std::min(i + 32, rows), std::clamp<int64_t>(rows - i - 32, 0, 32)}, dim);
        for (int64_t d = 0; d < padded(dim); d += 16) {
          move_square<float>(
              [&](int64_t j) { return pairs_of_rows(x, i + 2 * j, rows, d, dim); },
              [&](int64_t j, Vector<float> row) { store_pairs(row, to + (d + j) * stride + i); });
        }
      }
    }
    Strided<BFloat16> left(int64_t begin) const { return {data_ + begin, stride_, 1}; }

   private:
    const BFloat16* data_;
    int64_t stride_;
  };

  struct OperandScratch {
    alignas(64) BFloat16 right[kChunk * kBlock];
    alignas(64) BFloat16 left[kChunk * kBlock];
  };
  /// Keys are the rows, which zeros fill up to a multiple of 16.
  static const BFloat16* as_left(const float* scores, const Rectangle& r, OperandScratch& scratch) {
    for (int64_t k = r.row_begin; k < r.row_begin + round_up(r.rows(), 16); ++k)
      for (int64_t c = r.column_begin; c < r.column_end; c += 16) {
        const __m512 row =
            k < r.row_end ? _mm512_loadu_ps(scores + k * kBlock + c) : _mm512_setzero_ps();
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(scratch.left + k * kBlock + c),
                            (__m256i)_mm512_cvtneps_pbh(row));
      }
    return scratch.left + r.place();
  }

  /// Sums of a block, transposed: [padded(dim), kBlock].
  class QuerySums {
   public:
    QuerySums(float* data, int64_t dim) : data_(data), dim_(dim) {}
    void clear(int64_t begin, int64_t end) {
      for (int64_t d = 0; d < padded(dim_); ++d)
        std::fill(data_ + d * kBlock + begin, data_ + d * kBlock + end, 0.0F);
    }
    void multiply(const float* factors, const Rectangle& r) {
      for (int64_t c = r.column_begin; c < r.column_end; c += 16) {
        const Vector<float> factor = load(factors + c);
        int changed = 0;
        for (int64_t i = 0; i < 16; ++i) changed |= factors[c + i] != 1.0F;
        if (changed == 0) continue;
        for (int64_t d = 0; d < dim_; ++d)
          store(data_ + d * kBlock + c, load(data_ + d * kBlock + c) * factor);
      }
    }
    void add(const float* weights, const Rectangle& r, const SummedRows& rows, int64_t begin,
             bool accumulate, OperandScratch& scratch) {
      tile_product(dim_, r.columns(), depth(r.rows()), rows.left(begin),
                   as_right(weights, r, scratch), kBlock, data_ + r.column_begin, kBlock,
                   accumulate);
    }
    template <class T>
    void write(const float* factors, int64_t count, AttentionOperand<T> to) const {
      transpose_out(data_, factors, count, dim_, to.data, to.stride);
    }

   private:
    /// Keys are the depth, which zeros fill up to a product's step.
    static const BFloat16* as_right(const float* weights, const Rectangle& r,
                                    OperandScratch& scratch) {
      for (int64_t k = r.row_begin; k < r.row_begin + depth(r.rows()); k += 2)
        for (int64_t c = r.column_begin; c < r.column_end; c += 16) {
          const float* at = weights + k * kBlock + c;
          const __m512 even = k < r.row_end ? _mm512_loadu_ps(at) : _mm512_setzero_ps();
          const __m512 odd = k + 1 < r.row_end ? _mm512_loadu_ps(at + kBlock) : _mm512_setzero_ps();
          const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
          const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd));
          _mm512_storeu_si512(scratch.right + k * kBlock + 2 * c,
                              _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
        }
      return scratch.right + r.row_begin * kBlock + 2 * r.column_begin;
    }

    float* data_;
    int64_t dim_;
  };
};

}  // namespace coeus::COEUS_CPU_NAMESPACE
