// A lowered mask on its way to the device: packed on the host into one piece of memory, copied at
// once, and its partial tiles' bits written there.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "coeus/kernels/cuda/attention.h"
#include "coeus/kernels/cuda/mask_expansion.h"
#include "coeus/mask/block_mask.h"

namespace coeus::cuda {

/// All that attention on the device needs of a mask, for a whole batch; rows that the batch shares
/// stand in it once. Takes time and memory in proportion to tokens, query tiles' ranges and partial
/// tiles, and for rows with bits to those. Keeps nothing of the mask. Movable.
class MaskImage {
 public:
  /// with_turns: with what deterministic backward passes need, 4 bytes for each tile that is not
  /// empty and each range of full ones. Throws Error unless the mask's tiles are of kMaskTile
  /// queries and keys, and it has fewer than 2^31 partial tiles and, with turns, full ones.
  explicit MaskImage(const BlockMask& mask, bool with_turns = false);

  /// What is copied to the device.
  const void* host_data() const { return packed_.get(); }
  int64_t host_bytes() const { return host_bytes_; }
  /// What it takes there, with the bits of partial tiles by query and by key.
  int64_t device_bytes() const;

  /// Starts one copy to `device_memory` (device_bytes, aligned to 256) and one kernel on the stream
  /// and returns the mask, which what follows on the stream may read. Copies from `pinned_copy`, a
  /// copy of host_data() in page-locked memory that the caller keeps until the copy has run, or,
  /// when that is null, from host_data() itself. Throws std::runtime_error where CUDA reports an
  /// error.
  DeviceMask place(void* device_memory, const void* pinned_copy, cudaStream_t stream) const;

  /// The same in memory of the host (device_bytes, aligned to 8), without a device.
  DeviceMask expand_on_host(void* memory) const;

 private:
  /// Where the arrays of DeviceTileLists stand, in bytes from the start.
  struct ListPlaces {
    int64_t work = 0;
    int64_t partial_offsets = 0;
    int64_t partial = 0;
    int64_t full_offsets = 0;
    int64_t full = 0;
    int64_t bits = 0;
    int64_t partial_turns = 0;
    int64_t full_turn_offsets = 0;
    int64_t full_turns = 0;
    int tiles = 0;
    int work_count = 0;
  };

  class Packer;

  MaskSource source_in(const void* memory) const;
  DeviceMask mask_in(void* memory) const;

  std::unique_ptr<std::byte[]> packed_;
  int64_t host_bytes_ = 0;
  ListPlaces by_query_;
  ListPlaces by_key_;
  int64_t distinct_row_ = 0;
  int64_t tiles_ = 0;
  int64_t rows_ = 0;
  int32_t tile_count_ = 0;
  int32_t query_length_ = 0;
  int32_t key_length_ = 0;
  bool with_turns_ = false;
};

}  // namespace coeus::cuda
