// Masks on the device, and the documents that they are made for.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>
#include <vector>

#include "coeus/kernels/cuda/attention.h"
#include "coeus/kernels/cuda/mask_image.h"
#include "coeus/mask/block_mask.h"
#include "coeus/mask/sequence_layout.h"

namespace coeus::cuda {

/// A mask on the device, and what it took to get it there.
struct PlacedMask {
  BlockMask mask;
  DeviceMask device;
  void* memory = nullptr;
  void* pinned = nullptr;
  double lower_ms = 0, pack_ms = 0, place_ms = 0;
  int64_t host_bytes = 0, device_bytes = 0;

  PlacedMask(const std::string& text, const std::vector<SequenceLayout>& rows, bool with_turns,
             cudaStream_t stream);
  ~PlacedMask();
  PlacedMask(const PlacedMask&) = delete;
  PlacedMask& operator=(const PlacedMask&) = delete;

 private:
  /// What the device made of it must be what the host does.
  void check_bits(const MaskImage& image, const std::string& text) const;
};

/// Documents of exponential lengths that fill `tokens`.
std::vector<int64_t> document_lengths(int64_t tokens, double mean, uint64_t seed);

}  // namespace coeus::cuda
