// The copy of a packed mask and the kernel that writes its partial tiles' bits.
#include <cuda_runtime.h>

#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/mask_expansion.h"
#include "coeus/kernels/cuda/mask_image.h"

namespace coeus::cuda {
namespace {

/// A block a partial tile, a thread a query and then a key.
__global__ void __launch_bounds__(kMaskTile)
    expand_tiles(const MaskSource source, uint32_t* by_query, uint32_t* by_key) {
  __shared__ uint4 words[kMaskTile];
  const MaskTileSource tile = source.tiles[blockIdx.x];
  const int token = static_cast<int>(threadIdx.x);
  static_assert(kMaskWords == 4, "a row of a tile's bits is a uint4");
  words[token] = {by_query_word(source, tile, token, 0), by_query_word(source, tile, token, 1),
                  by_query_word(source, tile, token, 2), by_query_word(source, tile, token, 3)};
  __syncthreads();
  const auto* const seen = reinterpret_cast<const uint32_t*>(words);
  reinterpret_cast<uint4*>(by_query)[int64_t{blockIdx.x} * kMaskTile + token] = words[token];
  reinterpret_cast<uint4*>(by_key)[int64_t{tile.by_key_entry} * kMaskTile + token] = {
      by_key_word(seen, token, 0), by_key_word(seen, token, 1), by_key_word(seen, token, 2),
      by_key_word(seen, token, 3)};
}

}  // namespace

DeviceMask MaskImage::place(void* device_memory, const void* pinned_copy,
                            cudaStream_t stream) const {
  const DeviceMask mask = mask_in(device_memory);
  if (host_bytes_ == 0) return mask;
  check(cudaMemcpyAsync(device_memory, pinned_copy != nullptr ? pinned_copy : host_data(),
                        static_cast<size_t>(host_bytes_), cudaMemcpyHostToDevice, stream),
        "copying a mask to the device");
  if (tile_count_ == 0) return mask;
  expand_tiles<<<static_cast<unsigned>(tile_count_), kMaskTile, 0, stream>>>(
      source_in(device_memory), const_cast<uint32_t*>(mask.by_query.bits),
      const_cast<uint32_t*>(mask.by_key.bits));
  check(cudaGetLastError(), "expanding a mask on the device");
  return mask;
}

}  // namespace coeus::cuda
