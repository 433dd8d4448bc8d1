// The bits of a mask's partial tiles, from what a packed mask says of them: for the kernel that
// writes them on the device, and for the host, where tests read them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "coeus/kernels/cuda/attention.h"

namespace coeus::cuda {

/// Words of the bits of one partial tile.
constexpr int kMaskTileWords = kMaskTile * kMaskWords;

/// One partial tile: an entry of by_query.partial, with its entry in by_key.partial.
struct MaskTileSource {
  int32_t row = 0;  ///< among distinct rows
  int32_t query_tile = 0;
  int32_t key_tile = 0;
  int32_t by_key_entry = 0;
  /// The number of the tile's bits among its row's; -1: those of its intervals, or all where the
  /// row has none.
  int32_t packed_entry = -1;
};

/// Where the arrays of one distinct row stand (BlockMaskRow), in elements from the start of the
/// packed mask.
struct MaskRowSource {
  int64_t interval_begin = 0;
  int64_t interval_end = 0;
  int64_t key_ranks = -1;  ///< -1: keys are stored in the order of their indices
  int64_t packed_bits = 0;
  int32_t interval_count = 0;
};

/// What the bits of all partial tiles are made from.
struct MaskSource {
  const MaskTileSource* tiles = nullptr;  ///< [tile_count]
  const MaskRowSource* rows = nullptr;
  const void* packed = nullptr;  ///< the start of the packed mask
  int32_t tile_count = 0;
  int32_t query_length = 0;
  int32_t key_length = 0;
};

/// The lowest `count` bits; all of them from 32 on, none up to 0.
__host__ __device__ inline uint32_t low_bits(int32_t count) {
  if (count <= 0) return 0;
  return count >= 32 ? ~uint32_t{0} : (uint32_t{1} << count) - 1;
}

/// What query i of a partial tile sees of its keys 32 * word to 32 * word + 31, a bit each.
__host__ __device__ inline uint32_t by_query_word(const MaskSource& source,
                                                  const MaskTileSource& tile, int i, int word) {
  const int32_t query = tile.query_tile * kMaskTile + i;
  const int32_t key = tile.key_tile * kMaskTile + 32 * word;
  if (query >= source.query_length) return 0;
  const MaskRowSource& row = source.rows[tile.row];
  const uint32_t exist = low_bits(source.key_length - key);
  if (tile.packed_entry >= 0) {
    const auto* const words = static_cast<const uint64_t*>(source.packed) + row.packed_bits;
    const int64_t at = (int64_t{tile.packed_entry} * kMaskTile + i) * (kMaskTile / 64) + word / 2;
    return static_cast<uint32_t>(words[at] >> (word % 2 * 32)) & exist;
  }
  if (row.interval_count == 0) return exist;
  const auto* const numbers = static_cast<const int32_t*>(source.packed);
  const int32_t* begin = numbers + row.interval_begin + query;
  const int32_t* end = numbers + row.interval_end + query;
  uint32_t bits = 0;
  for (int slot = 0; slot < row.interval_count; ++slot) {
    if (row.key_ranks < 0) {
      bits |= low_bits(*end - key) & ~low_bits(*begin - key);
    } else {
      const int32_t* const ranks = numbers + row.key_ranks + key;
      for (int j = 0; j < 32 && key + j < source.key_length; ++j)
        bits |= static_cast<uint32_t>(*begin <= ranks[j] && ranks[j] < *end) << j;
    }
    begin += source.query_length;
    end += source.query_length;
  }
  return bits & exist;
}

/// Which of the queries 32 * word to 32 * word + 31 of a partial tile see its key j, a bit each,
/// from the tile's kMaskTileWords words by query.
__host__ __device__ inline uint32_t by_key_word(const uint32_t* by_query_words, int j, int word) {
  uint32_t bits = 0;
  for (int i = 0; i < 32; ++i) {
    const uint32_t keys = by_query_words[(32 * word + i) * kMaskWords + j / 32];
    bits |= (keys >> (j % 32) & 1) << i;
  }
  return bits;
}

}  // namespace coeus::cuda
