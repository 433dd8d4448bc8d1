// Random numbers without state: every value is a function of (seed, name, element), so that weights
// are the same in every layout and on any number of threads.
#pragma once

#include <cstdint>
#include <string_view>

#include "coeus/base/normal_quantile.h"

namespace coeus {

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
  uint64_t bits(uint64_t element) const { return counter_bits(state_, element); }
  /// Uniform in (0, 1), from 53 bits; never 0 or 1.
  double uniform(uint64_t element) const { return uniform_from_bits(bits(element)); }
  /// Standard normal.
  double normal(uint64_t element) const { return normal_quantile(uniform(element)); }

  /// What the draws are a function of, beside their number: for those who draw the same elsewhere.
  uint64_t state() const { return state_; }

 private:
  uint64_t state_;
};

}  // namespace coeus
