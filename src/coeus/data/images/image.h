#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace coeus {

struct ImageSize {
  int64_t width = 0;
  int64_t height = 0;
  bool operator==(const ImageSize&) const = default;
};

/// A picture in sRGB, eight bits a channel.
struct Image {
  ImageSize size;
  std::vector<uint8_t> pixels;  ///< [height, width, 3]: red, green, blue

  /// A black one.
  static Image of(ImageSize size) {
    return {size, std::vector<uint8_t>(static_cast<size_t>(size.width * size.height * 3))};
  }
  uint8_t* pixel(int64_t x, int64_t y) { return pixels.data() + (y * size.width + x) * 3; }
  const uint8_t* pixel(int64_t x, int64_t y) const {
    return pixels.data() + (y * size.width + x) * 3;
  }
};

}  // namespace coeus
