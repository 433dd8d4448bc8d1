#include "coeus/data/permutation.h"

#include <bit>

#include "coeus/base/error.h"
#include "coeus/base/random.h"

namespace coeus {

namespace {

constexpr int kRounds = 8;

}  // namespace

Permutation::Permutation(uint64_t size, uint64_t seed, uint64_t epoch)
    : size_(size), key_(mix64(mix64(seed + kGoldenGamma) + (epoch + 1) * kGoldenGamma)) {
  COEUS_CHECK(size >= 1 && size <= (uint64_t{1} << 62),
              "[Permutation] size must be from 1 to 2^62, got {}", size);
  int bits = std::bit_width(size - 1);
  high_bits_ = bits / 2;
  low_bits_ = bits - high_bits_;
}

uint64_t Permutation::encipher(uint64_t i) const {
  uint64_t high_mask = (uint64_t{1} << high_bits_) - 1;
  uint64_t low_mask = (uint64_t{1} << low_bits_) - 1;
  uint64_t high = i >> low_bits_;
  uint64_t low = i & low_mask;
  for (int round = 0; round < kRounds; ++round) {
    uint64_t round_key = key_ + static_cast<uint64_t>(round + 1) * kGoldenGamma;
    if (round % 2 == 0) {
      low ^= mix64(mix64(high + round_key)) & low_mask;
    } else {
      high ^= mix64(mix64(low + round_key)) & high_mask;
    }
  }
  return high << low_bits_ | low;
}

uint64_t Permutation::operator()(uint64_t i) const {
  COEUS_CHECK(i < size_, "[Permutation] {} is outside 0 to {}", i, size_ - 1);
  // Walking the cycle from inside the range comes back into it, so the walk ends.
  do {
    i = encipher(i);
  } while (i >= size_);
  return i;
}

}  // namespace coeus
