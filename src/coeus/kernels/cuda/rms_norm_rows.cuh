// Rows of RMSNorm as forward and backward share them out and read them. The threads of a row hold
// it in registers. A row has 4 to 32 lanes of a warp when it is short, else as many warps as it
// fills; a block takes as many rows at once as make about 256 threads.
//
// T is the type of x, O of out and its gradient, W of the weight. A thread works on as many columns
// at once as 16 bytes of T have; of an O of half the size that is half a vector, in 8 bytes.
#pragma once

#include <algorithm>
#include <climits>
#include <stdexcept>
#include <type_traits>

#include "coeus/kernels/cuda/rms_norm.h"
#include "coeus/kernels/cuda/vectors.cuh"

namespace coeus::cuda::rms_norm {

/// Threads of a block unless one row takes more.
constexpr int kBlockThreads = 256;
/// Vectors of a row that a thread holds: when lanes of one warp share a row, and when warps do.
constexpr int kFewVectors = 2;
constexpr int kManyVectors = 4;

/// How the threads of a block stand: `slots` rows at once, each of kLanes * row_warps threads.
struct Layout {
  int row_warps;
  int slots;
  int threads;
  bool aligned;  ///< whether 16 bytes of rows and of the weight can be read at once
};

/// Whether a residual is added, and whose type it has.
enum class Residual { kNone, kOfX, kOfOut };

/// Whether kSize elements are all of a vector; else they are the first half of it.
template <class T, int kSize>
constexpr bool kIsWhole = kSize == kVectorSize<T>;

/// The first kSize elements of a vector.
template <int kSize, class T>
__device__ __forceinline__ void unpack_first(const Vector<T>& x, float (&out)[kSize]) {
  static_assert(kIsWhole<T, kSize> || kIsWhole<T, 2 * kSize>);
  float all[kVectorSize<T>];
  unpack(x, all);
#pragma unroll
  for (int i = 0; i < kSize; ++i) out[i] = all[i];
}

/// Rounds each value to the nearest T; zeros after them.
template <class T, int kSize>
__device__ __forceinline__ Vector<T> pack_first(const float (&x)[kSize]) {
  static_assert(kIsWhole<T, kSize> || kIsWhole<T, 2 * kSize>);
  float all[kVectorSize<T>] = {};
#pragma unroll
  for (int i = 0; i < kSize; ++i) all[i] = x[i];
  return pack<T>(all);
}

/// Elements [index * kSize, (index + 1) * kSize) of a row; zeros past its end. `kAgain`: of what
/// this kernel itself may have written.
template <int kSize, bool kAgain = false, class T>
__device__ __forceinline__ Vector<T> load_from_row(const T* row, int index, int dim, bool aligned) {
  const int column = index * kSize;
  if (column >= dim) return {};
  if (!aligned) return load_part(row + column, min(kSize, dim - column));
  if constexpr (kIsWhole<T, kSize>) {
    return kAgain ? load(row + column) : load_once(row + column);
  } else {
    static_assert(!kAgain);
    const uint2 half = __ldcs(reinterpret_cast<const uint2*>(row + column));
    return {{half.x, half.y}};
  }
}

template <int kSize, class T>
__device__ __forceinline__ void store_to_row(T* row, int index, int dim, bool aligned,
                                             const Vector<T>& x) {
  const int column = index * kSize;
  if (column >= dim) return;
  if (!aligned)
    store_part(row + column, x, min(kSize, dim - column));
  else if constexpr (kIsWhole<T, kSize>)
    store(row + column, x);
  else
    *reinterpret_cast<uint2*>(row + column) = {x.words[0], x.words[1]};
}

/// kSize elements from an address that is a multiple of 16.
template <int kSize, class W>
__device__ __forceinline__ void load_wide(const W* from, float (&out)[kSize]) {
  constexpr int kStep = kVectorSize<W>;
  static_assert(kSize % kStep == 0);
#pragma unroll
  for (int part = 0; part < kSize / kStep; ++part) {
    float wide[kStep];
    unpack(load(from + part * kStep), wide);
#pragma unroll
    for (int i = 0; i < kStep; ++i) out[part * kStep + i] = wide[i];
  }
}

/// Values of the weight at the columns of a vector of kSize elements; zeros past the end.
template <int kSize, class W>
__device__ __forceinline__ void load_weight(const W* weight, int index, int dim, bool aligned,
                                            float (&out)[kSize]) {
  const int column = index * kSize;
  if (aligned && column < dim) return load_wide(weight + column, out);
#pragma unroll
  for (int i = 0; i < kSize; ++i) out[i] = column + i < dim ? as_float(weight[column + i]) : 0.F;
}

/// The sum of x over the threads of a row, the same in each. `shared`: a float a warp of the block;
/// a call may follow another at once when it has other floats. All threads of the block must call.
template <int kLanes>
__device__ __forceinline__ float row_sum(float x, int row_warps, float* shared) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    x += __shfl_xor_sync(0xffffffffU, x, offset);
  if (kLanes < 32 || row_warps == 1) return x;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane == 0) shared[warp] = x;
  __syncthreads();
  x = lane < row_warps ? shared[warp / row_warps * row_warps + lane] : 0.F;
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffU, x, offset);
  return x;
}

/// Calls run(integral_constant of lanes, integral_constant of vectors, layout) for rows of that
/// many vectors. The longest get most_warps, and may then have more vectors than registers hold.
/// few_vectors_warps: up to how many warps of kFewVectors are better than fewer of kManyVectors.
template <class Run>
void with_layout(int vectors, int few_vectors_warps, int most_warps, Run run) {
  const auto call = [&](auto lanes, auto held, int row_warps) {
    const int row_threads = decltype(lanes)::value * row_warps;
    const int slots = std::max(1, kBlockThreads / row_threads);
    run(lanes, held, Layout{row_warps, slots, slots * row_threads, false});
  };
  constexpr std::integral_constant<int, kFewVectors> kFew;
  constexpr std::integral_constant<int, kManyVectors> kMany;
  if (vectors <= 4 * kFewVectors) return call(std::integral_constant<int, 4>{}, kFew, 1);
  if (vectors <= 8 * kFewVectors) return call(std::integral_constant<int, 8>{}, kFew, 1);
  if (vectors <= 16 * kFewVectors) return call(std::integral_constant<int, 16>{}, kFew, 1);
  constexpr std::integral_constant<int, 32> kWarp;
  const int few_warps = (vectors + 32 * kFewVectors - 1) / (32 * kFewVectors);
  if (few_warps <= few_vectors_warps) return call(kWarp, kFew, few_warps);
  const int many_warps = (vectors + 32 * kManyVectors - 1) / (32 * kManyVectors);
  return call(kWarp, kMany, std::min(many_warps, most_warps));
}

template <class Work>
ElementType out_type_of(const Work& work) {
  return work.out_type.value_or(work.type);
}

/// Calls run(zero of T, zero of O, zero of W).
template <class Work, class Run>
void with_types(const Work& work, Run run) {
  const ElementType out_type = out_type_of(work);
  const bool same = out_type == work.type;
  if (!same && work.type != ElementType::kFloat32)
    throw std::runtime_error("RMSNorm's output has its input's type, or fewer bits than float32");
  if (work.weight_type != ElementType::kFloat32 && !(same && work.weight_type == work.type))
    throw std::runtime_error(same ? "RMSNorm takes a weight of its input's type or of float32"
                                  : "RMSNorm that narrows its output takes a weight of float32");
  with_type(work.type, [&](auto t) {
    if (same && work.weight_type == work.type) return run(t, t, t);
    if (same) return run(t, t, float{});
    if constexpr (std::is_same_v<decltype(t), float>)
      with_type(out_type, [&](auto o) { run(t, o, float{}); });
  });
}

inline unsigned grid(int64_t blocks) {
  if (blocks > INT_MAX) throw std::runtime_error("RMSNorm takes fewer than 2^31 blocks of rows");
  return static_cast<unsigned>(blocks);
}

/// Bytes of elements of `type` beside 16 of x's.
inline int64_t bytes_beside(ElementType x_type, ElementType type) {
  return 16 * size_of(type) / size_of(x_type);
}

/// Whether what a thread's columns have of `type` can be read at once. A null pointer does no harm.
template <class Work>
bool aligned_beside(const Work& work, const void* pointer, ElementType type) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes_beside(work.type, type) == 0;
}

/// The same for rows and for all that has x's type.
template <class Work, class... Pointers>
bool aligned_rows(const Work& work, Pointers... pointers) {
  return work.dim * size_of(work.type) % 16 == 0 && aligned_to_vectors(pointers...);
}

}  // namespace coeus::cuda::rms_norm
