#pragma once

#include <cstdint>
#include <vector>

namespace coeus {

/// The part of `size` rows of a weight that member `rank` of `ranks` holds: shares differ by one
/// row at most, so that none is empty unless there are fewer rows than ranks.
struct EvenShare {
  int64_t begin = 0;
  int64_t size = 0;
};

constexpr EvenShare even_share(int64_t size, int64_t ranks, int64_t rank) {
  const int64_t begin = size * rank / ranks;
  return {begin, size * (rank + 1) / ranks - begin};
}

/// Of all ranks, how many rows each holds.
inline std::vector<int64_t> even_shares(int64_t size, int64_t ranks) {
  std::vector<int64_t> sizes;
  for (int64_t rank = 0; rank < ranks; ++rank) sizes.push_back(even_share(size, ranks, rank).size);
  return sizes;
}

}  // namespace coeus
