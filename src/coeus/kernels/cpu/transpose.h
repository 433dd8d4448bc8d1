// Transposes between rows of tokens and attention's blocks, which hold a query a lane. Only for
// files that are compiled once for each capability.
#pragma once

#include "coeus/kernels/cpu/attention_block.h"

namespace coeus::COEUS_CPU_NAMESPACE {

/// Transposes a square of as many rows as a vector has lanes: swaps the blocks beside the diagonal,
/// of half the size each time.
template <class C>
inline void transpose_square(Vector<C> (&rows)[kLanes<C>]) {
  constexpr int kSize = static_cast<int>(kLanes<C>);
#pragma GCC unroll 8
  for (int half = kSize / 2; half >= 1; half /= 2) {
    Vector<BitsOf<C>> first;
    Vector<BitsOf<C>> second;
#pragma GCC unroll 16
    for (int lane = 0; lane < kSize; ++lane) {
      first[lane] = (lane & half) == 0 ? lane : kSize + lane - half;
      second[lane] = (lane & half) == 0 ? lane + half : kSize + lane;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kSize; ++i) {
      if ((i & half) != 0) continue;
      const Vector<C> a = rows[i];
      const Vector<C> b = rows[i + half];
      rows[i] = __builtin_shuffle(a, b, first);
      rows[i + half] = __builtin_shuffle(a, b, second);
    }
  }
}

/// The first `count` values at `from` in the compute type, zeros behind them.
template <class C, class T>
inline Vector<C> load_some(const T* from, int64_t count) {
  if (std::is_same_v<C, T> && count >= kLanes<C>) return load(reinterpret_cast<const C*>(from));
  alignas(kVectorBytes) C values[kLanes<C>] = {};
  if (count >= kLanes<C>)
    for (int64_t i = 0; i < kLanes<C>; ++i) values[i] = as_compute(from[i]);
  else
    for (int64_t i = 0; i < count; ++i) values[i] = as_compute(from[i]);
  return load(values);
}

/// Writes the first `count` of a vector's values at `to`.
template <class C, class T>
inline void store_some(Vector<C> vector, T* to, int64_t count) {
  if (std::is_same_v<C, T> && count >= kLanes<C>) return store(reinterpret_cast<C*>(to), vector);
  alignas(kVectorBytes) C values[kLanes<C>];
  store(values, vector);
  if (count >= kLanes<C>)
    for (int64_t i = 0; i < kLanes<C>; ++i) to[i] = from_compute<T>(values[i]);
  else
    for (int64_t i = 0; i < count; ++i) to[i] = from_compute<T>(values[i]);
}

/// out[d * kBlock + c] = x[c * stride + d] * factor for c < count and d < dim.
template <class C, class T>
inline void transpose_in(const T* x, int64_t stride, int64_t count, int64_t dim, C factor, C* out) {
  constexpr int64_t kSize = kLanes<C>;
  for (int64_t c = 0; c < count; c += kSize)
    for (int64_t d = 0; d < dim; d += kSize) {
      Vector<C> rows[kSize];
      for (int64_t i = 0; i < kSize; ++i)
        rows[i] =
            c + i < count ? load_some<C>(x + (c + i) * stride + d, dim - d) * factor : Vector<C>{};
      transpose_square<C>(rows);
      for (int64_t j = 0; j < std::min(kSize, dim - d); ++j)
        store(out + (d + j) * kBlock + c, rows[j]);
    }
}

/// x[c * stride + d] = in[d * kBlock + c] * factors[c] for c < count and d < dim. Whole vectors of
/// `in` and `factors` are read.
template <class C, class T>
inline void transpose_out(const C* in, const C* factors, int64_t count, int64_t dim, T* x,
                          int64_t stride) {
  constexpr int64_t kSize = kLanes<C>;
  for (int64_t c = 0; c < count; c += kSize)
    for (int64_t d = 0; d < dim; d += kSize) {
      Vector<C> rows[kSize];
      for (int64_t j = 0; j < kSize; ++j)
        rows[j] = d + j < dim ? load(in + (d + j) * kBlock + c) * load(factors + c) : Vector<C>{};
      transpose_square<C>(rows);
      for (int64_t i = 0; i < std::min(kSize, count - c); ++i)
        store_some<C>(rows[i], x + (c + i) * stride + d, dim - d);
    }
}

}  // namespace coeus::COEUS_CPU_NAMESPACE
