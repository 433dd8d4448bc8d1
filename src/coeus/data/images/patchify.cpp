#include "coeus/data/images/patchify.h"

#include <array>

#include "coeus/base/error.h"

namespace coeus {

namespace {

using Channel = std::array<float, 256>;

std::array<Channel, 3> normalized_values() {
  constexpr std::array<double, 3> kMean = {0.48145466, 0.4578275, 0.40821073};
  constexpr std::array<double, 3> kDeviation = {0.26862954, 0.26130258, 0.27577711};
  std::array<Channel, 3> values;
  for (size_t channel = 0; channel < 3; ++channel) {
    for (size_t v = 0; v < 256; ++v) {
      values[channel][v] =
          static_cast<float>((static_cast<double>(v) / 255 - kMean[channel]) / kDeviation[channel]);
    }
  }
  return values;
}

}  // namespace

ImageGrid append_patches(const Image& image, int64_t patch_size, std::vector<float>& values) {
  static const std::array<Channel, 3> normalized = normalized_values();
  const ImageSize size = image.size;
  COEUS_CHECK(patch_size >= 1 && size.width % patch_size == 0 && size.height % patch_size == 0,
              "[append_patches] an image of {} x {} pixels cannot be cut into patches of {} x {}",
              size.width, size.height, patch_size, patch_size);
  for (int64_t top = 0; top < size.height; top += patch_size) {
    for (int64_t left = 0; left < size.width; left += patch_size) {
      for (int64_t y = top; y < top + patch_size; ++y) {
        const uint8_t* pixel = image.pixel(left, y);
        for (int64_t i = 0; i < patch_size * 3; ++i) {
          values.push_back(normalized[static_cast<size_t>(i % 3)][pixel[i]]);
        }
      }
    }
  }
  return {static_cast<int32_t>(size.height / patch_size),
          static_cast<int32_t>(size.width / patch_size)};
}

}  // namespace coeus
