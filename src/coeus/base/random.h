// Random numbers without state: every value is a function of (seed, name, element), so that weights
// are the same in every layout and on any number of threads.
#pragma once

#include <cstdint>
#include <string_view>

namespace coeus {

/// What splitmix64 adds to its state for each output.
inline constexpr uint64_t kGoldenGamma = 0x9E3779B97F4A7C15ULL;

/// The finaliser of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014): a bijection of 64-bit words.
inline uint64_t mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

/// The 64-bit FNV-1a hash of the bytes.
uint64_t fnv1a64(std::string_view bytes);

/// The quantile function of the standard normal distribution for p in (0, 1), to about 1e-15
/// (Wichura, algorithm AS 241, 1988).
double normal_quantile(double p);

/// A sequence of independent draws, addressed by their number.
class CounterRandom {
 public:
  /// The sequence of one named thing, say a parameter, in a run of the given seed.
  CounterRandom(uint64_t seed, std::string_view name);

  /// Draw number `element`, uniform over all 64-bit words.
  uint64_t bits(uint64_t element) const { return mix64(state_ + (element + 1) * kGoldenGamma); }
  /// Uniform in (0, 1), from 53 bits; never 0 or 1.
  double uniform(uint64_t element) const {
    return (static_cast<double>(bits(element) >> 11) + 0.5) * 0x1p-53;
  }
  /// Standard normal.
  double normal(uint64_t element) const { return normal_quantile(uniform(element)); }

 private:
  uint64_t state_;
};

}  // namespace coeus
