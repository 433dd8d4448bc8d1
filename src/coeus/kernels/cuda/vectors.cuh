// What kernels bound by memory share: 16 bytes of elements in registers, and types by name.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "coeus/kernels/cuda/element_type.h"
#include "coeus/kernels/cuda/exponential.cuh"
#include "coeus/kernels/cuda/with_type.cuh"

namespace coeus::cuda {

constexpr float kLn2 = 0.6931471805599453F;

/// Elements of T in 16 bytes.
template <class T>
constexpr int kVectorSize = 16 / static_cast<int>(sizeof(T));

/// kVectorSize elements of T as they lie in memory.
template <class T>
struct Vector {
  uint32_t words[4];
};

__device__ __forceinline__ float as_float(float x) { return x; }
__device__ __forceinline__ float as_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float as_float(__half x) { return __half2float(x); }

/// x rounded to the nearest T.
template <class T>
__device__ __forceinline__ T rounded(float x);
template <>
__device__ __forceinline__ float rounded<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __nv_bfloat16 rounded<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ __half rounded<__half>(float x) {
  return __float2half_rn(x);
}

__device__ __forceinline__ uint32_t bits_of(float x) { return __float_as_uint(x); }
__device__ __forceinline__ uint32_t bits_of(__nv_bfloat16 x) { return __bfloat16_as_ushort(x); }
__device__ __forceinline__ uint32_t bits_of(__half x) { return __half_as_ushort(x); }

__device__ __forceinline__ void from_bits(uint32_t bits, float& x) { x = __uint_as_float(bits); }
__device__ __forceinline__ void from_bits(uint32_t bits, __nv_bfloat16& x) {
  x = __ushort_as_bfloat16(static_cast<unsigned short>(bits));
}
__device__ __forceinline__ void from_bits(uint32_t bits, __half& x) {
  x = __ushort_as_half(static_cast<unsigned short>(bits));
}

template <class T>
__device__ __forceinline__ Vector<T> as_vector(uint4 x) {
  return {{x.x, x.y, x.z, x.w}};
}
template <class T>
__device__ __forceinline__ uint4 as_words(const Vector<T>& x) {
  return {x.words[0], x.words[1], x.words[2], x.words[3]};
}

/// From an address that is a multiple of 16.
template <class T>
__device__ __forceinline__ Vector<T> load(const T* from) {
  return as_vector<T>(*reinterpret_cast<const uint4*>(from));
}
/// The same for what nothing reads soon again: caches evict it first.
template <class T>
__device__ __forceinline__ Vector<T> load_once(const T* from) {
  return as_vector<T>(__ldcs(reinterpret_cast<const uint4*>(from)));
}
template <class T>
__device__ __forceinline__ void store(T* to, const Vector<T>& x) {
  *reinterpret_cast<uint4*>(to) = as_words(x);
}
template <class T>
__device__ __forceinline__ void store_once(T* to, const Vector<T>& x) {
  __stcs(reinterpret_cast<uint4*>(to), as_words(x));
}

/// The first `count` elements from any address, one by one; zeros after them.
template <class T>
__device__ __forceinline__ Vector<T> load_part(const T* from, int count) {
  constexpr int kInWord = 4 / static_cast<int>(sizeof(T));
  Vector<T> x{};
#pragma unroll
  for (int i = 0; i < kVectorSize<T>; ++i)
    if (i < count) x.words[i / kInWord] |= bits_of(from[i]) << (i % kInWord * 16);
  return x;
}
template <class T>
__device__ __forceinline__ void store_part(T* to, const Vector<T>& x, int count) {
  constexpr int kInWord = 4 / static_cast<int>(sizeof(T));
#pragma unroll
  for (int i = 0; i < kVectorSize<T>; ++i)
    if (i < count) from_bits(x.words[i / kInWord] >> (i % kInWord * 16), to[i]);
}

__device__ __forceinline__ void unpack(const Vector<float>& x, float (&out)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) out[i] = __uint_as_float(x.words[i]);
}
__device__ __forceinline__ void unpack(const Vector<__nv_bfloat16>& x, float (&out)[8]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = __uint_as_float(x.words[i] << 16);
    out[2 * i + 1] = __uint_as_float(x.words[i] & 0xffff0000U);
  }
}
__device__ __forceinline__ void unpack(const Vector<__half>& x, float (&out)[8]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(&x.words[i]));
    out[2 * i] = pair.x;
    out[2 * i + 1] = pair.y;
  }
}

/// Rounds each value to the nearest T.
template <class T>
__device__ __forceinline__ Vector<T> pack(const float (&x)[kVectorSize<T>]);
template <>
__device__ __forceinline__ Vector<float> pack<float>(const float (&x)[4]) {
  return {{bits_of(x[0]), bits_of(x[1]), bits_of(x[2]), bits_of(x[3])}};
}
template <>
__device__ __forceinline__ Vector<__nv_bfloat16> pack<__nv_bfloat16>(const float (&x)[8]) {
  Vector<__nv_bfloat16> out;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
    out.words[i] = *reinterpret_cast<const uint32_t*>(&pair);
  }
  return out;
}
template <>
__device__ __forceinline__ Vector<__half> pack<__half>(const float (&x)[8]) {
  Vector<__half> out;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const __half2 pair = __floats2half2_rn(x[2 * i], x[2 * i + 1]);
    out.words[i] = *reinterpret_cast<const uint32_t*>(&pair);
  }
  return out;
}

inline int64_t size_of(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

/// Whether 16 bytes can be read at once from each address. A null pointer does no harm.
template <class... Pointers>
bool aligned_to_vectors(Pointers... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

}  // namespace coeus::cuda
