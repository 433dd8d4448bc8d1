#include "coeus/base/random.h"

namespace coeus {

uint64_t fnv1a64(std::string_view bytes) {
  uint64_t hash = 0xCBF29CE484222325ULL;
  for (unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001B3ULL;
  return hash;
}

double normal_quantile(double p) { return normal_quantile_as241(p); }

CounterRandom::CounterRandom(uint64_t seed, std::string_view name)
    : state_(mix64(fnv1a64(name) + mix64(seed + kGoldenGamma))) {}

}  // namespace coeus
