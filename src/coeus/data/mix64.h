// splitmix64's output function: the source of every random choice in this folder.
#pragma once

#include <cstdint>

namespace coeus {

inline constexpr uint64_t kGoldenGamma = 0x9E3779B97F4A7C15ull;

/// Scrambles 64 bits (Stafford's variant 13, as in splitmix64).
inline uint64_t mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

}  // namespace coeus
