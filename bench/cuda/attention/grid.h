// The grids of kernels that loop over elements.
#pragma once

#include <algorithm>
#include <cstdint>

namespace coeus::cuda {

/// Threads of a block, and the blocks that a grid has at most.
constexpr int kThreads = 256;
constexpr int kMostBlocks = 4096;

/// Blocks for so many threads, or for fewer that each take several elements.
inline unsigned blocks_for(int64_t threads) {
  return static_cast<unsigned>(
      std::clamp<int64_t>((threads + kThreads - 1) / kThreads, 1, kMostBlocks));
}

}  // namespace coeus::cuda
