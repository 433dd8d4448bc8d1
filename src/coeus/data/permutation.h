// A shuffle without a table: the n-th place is computed, so order costs no memory and any place can
// be asked for first.
#pragma once

#include <cstdint>

namespace coeus {

/// A permutation of 0 … size-1, drawn by (seed, epoch). An alternating Feistel network over the
/// next power of two, walked until it lands inside (Black and Rogaway, "Ciphers with arbitrary
/// finite domains", 2002): at most two evaluations on average.
class Permutation {
 public:
  /// `size` is from 1 to 2^62.
  Permutation(uint64_t size, uint64_t seed, uint64_t epoch);

  uint64_t size() const { return size_; }
  /// The image of `i`, which is below size().
  uint64_t operator()(uint64_t i) const;

 private:
  uint64_t encipher(uint64_t i) const;

  uint64_t size_;
  uint64_t key_;
  int high_bits_;
  int low_bits_;
};

}  // namespace coeus
