// bfloat16 as kernels see it: 16 bits of storage, arithmetic in float.
#pragma once

#include <bit>
#include <cstdint>

namespace coeus {

/// The upper half of a float.
struct BFloat16 {
  uint16_t bits = 0;
};

inline float to_float(float x) { return x; }
inline float to_float(BFloat16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

template <class T>
T from_float(float x);
template <>
inline float from_float<float>(float x) {
  return x;
}
/// Rounds to nearest, ties to even; a NaN stays one.
template <>
inline BFloat16 from_float<BFloat16>(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  return {static_cast<uint16_t>(x != x ? (bits >> 16) | 0x40U : rounded)};
}

}  // namespace coeus
