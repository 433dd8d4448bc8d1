// Transposes between rows of tokens and attention's blocks, which hold a query a lane. Only for
// files that are compiled once for each capability.
#pragma once

#include <utility>

#include "coeus/kernels/cpu/attention_block.h"

namespace coeus::COEUS_CPU_NAMESPACE {

/// Swaps, of two rows, the blocks of kHalf lanes that a transpose swaps.
template <int kHalf, class V, int... kLane>
inline void swap_blocks(V& upper, V& lower, std::integer_sequence<int, kLane...>) {
  constexpr int kSize = sizeof...(kLane);
  const V a = upper;
  const V b = lower;
  upper = __builtin_shufflevector(a, b, ((kLane & kHalf) == 0 ? kLane : kSize + kLane - kHalf)...);
  lower = __builtin_shufflevector(a, b, ((kLane & kHalf) == 0 ? kLane + kHalf : kSize + kLane)...);
}

/// Transposes a square of as many rows as a vector has lanes: swaps the blocks beside the diagonal,
/// of half the size each time.
template <class C, int kHalf = static_cast<int>(kLanes<C>) / 2>
inline void transpose_square(Vector<C> (&rows)[kLanes<C>]) {
  constexpr int kSize = static_cast<int>(kLanes<C>);
#pragma GCC unroll 16
  for (int i = 0; i < kSize; ++i)
    if ((i & kHalf) == 0)
      swap_blocks<kHalf>(rows[i], rows[i + kHalf], std::make_integer_sequence<int, kSize>());
  if constexpr (kHalf > 1) transpose_square<C, kHalf / 2>(rows);
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

/// Transposes a square from read(row) to write(row, vector).
template <class C, class Read, class Write>
inline void move_square(const Read& read, const Write& write) {
  Vector<C> rows[kLanes<C>];
#pragma GCC unroll 16
  for (int64_t i = 0; i < kLanes<C>; ++i) rows[i] = read(i);
  transpose_square<C>(rows);
#pragma GCC unroll 16
  for (int64_t i = 0; i < kLanes<C>; ++i) write(i, rows[i]);
}

/// out[d * kBlock + c] = x[c * stride + d] * factor for c < count and d < dim.
template <class C, class T>
inline void transpose_in(const T* x, int64_t stride, int64_t count, int64_t dim, C factor, C* out) {
  constexpr int64_t kSize = kLanes<C>;
  for (int64_t c = 0; c < count; c += kSize)
    for (int64_t d = 0; d < dim; d += kSize) {
      const T* from = x + c * stride + d;
      C* to = out + d * kBlock + c;
      if (std::is_same_v<C, T> && c + kSize <= count && d + kSize <= dim)
        move_square<C>(
            [&](int64_t i) { return load(reinterpret_cast<const C*>(from + i * stride)) * factor; },
            [&](int64_t j, Vector<C> row) { store(to + j * kBlock, row); });
      else
        move_square<C>(
            [&](int64_t i) {
              return c + i < count ? load_some<C>(from + i * stride, dim - d) * factor
                                   : Vector<C>{};
            },
            [&](int64_t j, Vector<C> row) {
              if (d + j < dim) store(to + j * kBlock, row);
            });
    }
}

/// x[c * stride + d] = in[d * kBlock + c] * factors[c] for c < count and d < dim. Whole vectors of
/// `in` and `factors` are read.
template <class C, class T>
inline void transpose_out(const C* in, const C* factors, int64_t count, int64_t dim, T* x,
                          int64_t stride) {
  constexpr int64_t kSize = kLanes<C>;
  for (int64_t c = 0; c < count; c += kSize) {
    const Vector<C> factor = load(factors + c);
    for (int64_t d = 0; d < dim; d += kSize) {
      const C* from = in + d * kBlock + c;
      T* to = x + c * stride + d;
      if (std::is_same_v<C, T> && c + kSize <= count && d + kSize <= dim)
        move_square<C>(
            [&](int64_t j) { return load(from + j * kBlock) * factor; },
            [&](int64_t i, Vector<C> row) { store(reinterpret_cast<C*>(to + i * stride), row); });
      else
        move_square<C>(
            [&](int64_t j) { return d + j < dim ? load(from + j * kBlock) * factor : Vector<C>{}; },
            [&](int64_t i, Vector<C> row) {
              if (c + i < count) store_some<C>(row, to + i * stride, dim - d);
            });
    }
  }
}

}  // namespace coeus::COEUS_CPU_NAMESPACE
