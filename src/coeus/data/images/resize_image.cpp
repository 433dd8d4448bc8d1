#include "coeus/data/images/resize_image.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "coeus/base/error.h"

namespace coeus {

namespace {

constexpr double kLongestRatio = 200;
// Of the weights in fixed point: eight bits of a pixel and two of overshoot stay below 2^31.
constexpr int kFractionBits = 32 - 8 - 2;
constexpr double kSupport = 2;

/// Keys' cubic convolution kernel (1981) with a = -0.5.
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/// What each pixel of a resized row is made of.
struct Weights {
  struct Span {
    int64_t first = 0;
    std::vector<int32_t> weights;
  };
  std::vector<Span> spans;

  Weights(int64_t from, int64_t to) {
    const double scale = static_cast<double>(from) / static_cast<double>(to);
    const double widening = std::max(scale, 1.0);
    const double support = kSupport * widening;
    std::vector<double> exact;
    for (int64_t i = 0; i < to; ++i) {
      const double centre = (static_cast<double>(i) + 0.5) * scale;
      const auto first =
          std::max<int64_t>(static_cast<int64_t>(std::floor(centre - support + 0.5)), 0);
      const auto end = std::min(static_cast<int64_t>(std::floor(centre + support + 0.5)), from);
      exact.clear();
      double sum = 0;
      for (int64_t x = first; x < end; ++x) {
        exact.push_back(cubic((static_cast<double>(x) - centre + 0.5) / widening));
        sum += exact.back();
      }
      Span span{.first = first};
      for (const double weight : exact) {
        const double fixed = weight / sum * (1 << kFractionBits);
        span.weights.push_back(static_cast<int32_t>(fixed + (fixed < 0 ? -0.5 : 0.5)));
      }
      spans.push_back(std::move(span));
    }
  }
};

constexpr int32_t kHalf = 1 << (kFractionBits - 1);

uint8_t from_fixed(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
}

Image resize_width(const Image& image, int64_t width) {
  const Weights weights(image.size.width, width);
  Image resized = Image::of({width, image.size.height});
  for (int64_t y = 0; y < image.size.height; ++y) {
    uint8_t* to = resized.pixel(0, y);
    for (const auto& span : weights.spans) {
      const uint8_t* from = image.pixel(span.first, y);
      std::array<int32_t, 3> sums = {kHalf, kHalf, kHalf};
      for (const int32_t weight : span.weights) {
        for (int32_t& sum : sums) sum += *from++ * weight;
      }
      for (const int32_t sum : sums) *to++ = from_fixed(sum);
    }
  }
  return resized;
}

Image resize_height(const Image& image, int64_t height) {
  const Weights weights(image.size.height, height);
  Image resized = Image::of({image.size.width, height});
  std::vector<int32_t> sums(static_cast<size_t>(image.size.width * 3));
  uint8_t* to = resized.pixels.data();
  for (const auto& span : weights.spans) {
    std::ranges::fill(sums, kHalf);
    // Rows one after another: a column's pixels lie far apart.
    const uint8_t* from = image.pixel(0, span.first);
    for (const int32_t weight : span.weights) {
      for (int32_t& sum : sums) sum += *from++ * weight;
    }
    for (const int32_t sum : sums) *to++ = from_fixed(sum);
  }
  return resized;
}

}  // namespace

ImageSize fit_image(ImageSize size, int64_t patch_size, int64_t max_patches) {
  COEUS_CHECK(patch_size >= 1 && max_patches >= 1,
              "[fit_image] patches of {} pixels, at most {}: both must be at least 1", patch_size,
              max_patches);
  const auto [shorter, longer] = std::minmax(size.width, size.height);
  COEUS_CHECK_DATA(static_cast<double>(longer) <= kLongestRatio * static_cast<double>(shorter),
                   "it has {} x {} pixels; one side may be at most {} times the other", size.width,
                   size.height, kLongestRatio);
  const auto side = static_cast<double>(patch_size);
  const auto most = static_cast<double>(max_patches);
  double width = static_cast<double>(size.width);
  double height = static_cast<double>(size.height);
  // Whole numbers and the order of the operations as in TorchTitan, whose sizes these must be.
  const int64_t patches = size.width * size.height / (patch_size * patch_size);
  double scale = 1;
  if (patches < 1) scale = std::max(side / width, side / height);
  if (patches > max_patches) scale = std::sqrt(most / static_cast<double>(patches));
  if (scale != 1) {
    width = std::floor(width * scale);
    height = std::floor(height * scale);
  }
  // nearbyint rounds halves to even, as Python does.
  double columns = std::max(std::nearbyint(width / side), 1.0);
  double rows = std::max(std::nearbyint(height / side), 1.0);
  if (columns * rows > most) {
    const double shrink = std::sqrt(columns * rows / most);
    columns = std::max(std::floor(width / shrink / side), 1.0);
    rows = std::max(std::floor(height / shrink / side), 1.0);
  }
  // Only a side that was brought up to one patch leaves too many here.
  columns = std::min(columns, std::max(std::floor(most / rows), 1.0));
  rows = std::min(rows, std::floor(most / columns));
  return {static_cast<int64_t>(columns) * patch_size, static_cast<int64_t>(rows) * patch_size};
}

Image resize_image(const Image& image, ImageSize size) {
  COEUS_CHECK(size.width >= 1 && size.height >= 1 && !image.pixels.empty(),
              "[resize_image] cannot make {} x {} pixels of {} x {}", size.width, size.height,
              image.size.width, image.size.height);
  if (image.size == size) return image;
  if (image.size.width == size.width) return resize_height(image, size.height);
  Image wide = resize_width(image, size.width);
  return wide.size == size ? wide : resize_height(wide, size.height);
}

}  // namespace coeus
