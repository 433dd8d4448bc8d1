#include "placed_mask.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "coeus/kernels/cuda/check.h"
#include "coeus/mask/lower.h"
#include "coeus/mask/mask.h"
#include "wait.h"

namespace coeus::cuda {

PlacedMask::PlacedMask(const std::string& text, const std::vector<SequenceLayout>& rows,
                       bool with_turns, cudaStream_t stream) {
  const Mask expression = parse_mask(text);
  auto start = Clock::now();
  mask = lower(expression, rows);
  lower_ms = 1e3 * seconds_since(start);
  start = Clock::now();
  const MaskImage image(mask, with_turns);
  pack_ms = 1e3 * seconds_since(start);
  host_bytes = image.host_bytes();
  device_bytes = image.device_bytes();
  check(cudaMalloc(&memory, static_cast<size_t>(device_bytes) + 256), "cudaMalloc");
  check(cudaMallocHost(&pinned, static_cast<size_t>(host_bytes) + 256), "cudaMallocHost");
  check(cudaMemsetAsync(memory, 0xFF, static_cast<size_t>(device_bytes) + 256, stream),
        "cudaMemsetAsync");
  std::memcpy(pinned, image.host_data(), static_cast<size_t>(host_bytes));
  start = Clock::now();
  device = image.place(memory, pinned, stream);
  finish(stream, "placing the mask " + text);
  place_ms = 1e3 * seconds_since(start);
  check_bits(image, text);
}

PlacedMask::~PlacedMask() {
  cudaFree(memory);
  cudaFreeHost(pinned);
}

void PlacedMask::check_bits(const MaskImage& image, const std::string& text) const {
  constexpr int64_t kMost = int64_t{256} << 20;
  if (device_bytes > kMost) return;
  std::vector<uint64_t> expected(device_bytes / 8 + 1), found(device_bytes / 8 + 1);
  image.expand_on_host(expected.data());
  check(cudaMemcpy(found.data(), memory, device_bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
  if (std::memcmp(static_cast<const char*>(image.host_data()), found.data(), host_bytes) != 0)
    throw std::runtime_error("the mask " + text + " was not copied whole");
  const auto* const a = reinterpret_cast<const char*>(expected.data()) + host_bytes;
  const auto* const b = reinterpret_cast<const char*>(found.data()) + host_bytes;
  if (std::memcmp(a, b, device_bytes - host_bytes) != 0)
    throw std::runtime_error("the bits of the mask " + text + " differ from the host's");
}

std::vector<int64_t> document_lengths(int64_t tokens, double mean, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::exponential_distribution<double> length(1 / mean);
  std::vector<int64_t> lengths;
  for (int64_t left = tokens; left > 0; left -= lengths.back())
    lengths.push_back(std::clamp<int64_t>(static_cast<int64_t>(length(random)), 1, left));
  return lengths;
}

}  // namespace coeus::cuda
