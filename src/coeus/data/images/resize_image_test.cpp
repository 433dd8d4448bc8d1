#include "coeus/data/images/resize_image.h"

#include <gmock/gmock.h>

#include <cmath>
#include <random>
#include <string_view>

#include "coeus/base/error.h"
#include "coeus/base/random.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Image pattern(int64_t width, int64_t height) {
  Image image = Image::of({width, height});
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < 3; ++c) {
        image.pixel(x, y)[c] = static_cast<uint8_t>(x * 37 + y * 91 + c * 53 + x * y * 7);
      }
    }
  }
  return image;
}

uint64_t hash_of(const Image& image) {
  return fnv1a64({reinterpret_cast<const char*>(image.pixels.data()), image.pixels.size()});
}

// What Pillow 11.3 makes of the same pattern: Image.resize((width, height)).
TEST(ResizeImage, GivesPillowsValues) {
  EXPECT_THAT(resize_image(pattern(7, 5), {4, 3}).pixels,
              ElementsAre(56, 113, 163, 127, 143, 139, 113, 140, 167, 151, 125, 110, 150, 137, 113,
                          117, 126, 135, 130, 135, 143, 146, 127, 123, 99, 147, 136, 159, 133, 127,
                          143, 144, 134, 161, 128, 117));
  EXPECT_THAT(resize_image(pattern(3, 2), {5, 4}).pixels,
              ElementsAre(0, 42, 95, 3, 56, 108, 28, 81, 134, 54, 107, 175, 68, 121, 198, 18, 69,
                          122, 30, 83, 139, 57, 110, 163, 84, 137, 156, 99, 152, 148, 70, 122, 175,
                          85, 138, 200, 115, 168, 221, 145, 198, 118, 160, 213, 48, 96, 149, 202,
                          112, 165, 231, 144, 197, 250, 175, 228, 99, 191, 244, 0));
  EXPECT_EQ(hash_of(resize_image(pattern(123, 77), {48, 32})), 0x592141eddb58ac1fu);
  EXPECT_EQ(hash_of(resize_image(pattern(123, 77), {123, 32})), 0x484bc26d4e975b1au);
  EXPECT_EQ(hash_of(resize_image(pattern(40, 40), {64, 64})), 0xd13efb8d61ff0ac7u);
  EXPECT_EQ(hash_of(resize_image(pattern(20, 300), {16, 240})), 0x1bd50650e9285b2cu);
  EXPECT_EQ(hash_of(resize_image(pattern(300, 200), {16, 16})), 0x668599b0cadb9b10u);
}

TEST(ResizeImage, LeavesAnImageOfTheRightSizeAlone) {
  const Image image = pattern(6, 4);
  EXPECT_EQ(resize_image(image, {6, 4}).pixels, image.pixels);
}

struct Fit {
  ImageSize image;
  int64_t patch_size;
  int64_t max_patches;
  ImageSize fitted;
};

// TorchTitan's _resize_image_by_patch_count gave these.
TEST(FitImage, GivesTorchTitansSizes) {
  const std::vector<Fit> cases = {
      {{256, 256}, 16, 256, {256, 256}},   {{512, 512}, 16, 256, {256, 256}},
      {{640, 480}, 16, 256, {288, 224}},   {{640, 480}, 16, 1024, {576, 432}},
      {{1920, 1080}, 14, 256, {294, 168}}, {{24, 24}, 16, 256, {32, 32}},
      {{40, 40}, 16, 256, {32, 32}},       {{8, 8}, 16, 256, {16, 16}},
      {{5, 3}, 16, 256, {32, 16}},         {{23, 25}, 16, 256, {16, 32}},
      {{33, 47}, 16, 7, {32, 48}},         {{16, 3000}, 16, 256, {16, 3008}}};
  for (const Fit& c : cases) {
    const ImageSize fitted = fit_image(c.image, c.patch_size, c.max_patches);
    EXPECT_EQ(fitted, c.fitted) << c.image.width << " x " << c.image.height << " became "
                                << fitted.width << " x " << fitted.height;
  }
}

TEST(FitImage, GivesThinImagesOnePatchWhereTorchTitanHasNoSize) {
  EXPECT_EQ(fit_image({10, 30}, 16, 256), (ImageSize{16, 32}));
  EXPECT_EQ(fit_image({100, 16}, 16, 4), (ImageSize{64, 16}));
  EXPECT_EQ(fit_image({17, 3000}, 16, 100), (ImageSize{16, 1600}));
  EXPECT_EQ(fit_image({300, 200}, 16, 1), (ImageSize{16, 16}));
}

TEST(FitImage, AlwaysGivesWholePatchesAndNotTooMany) {
  std::mt19937_64 random(7);
  const auto draw = [&](int64_t most) { return 1 + static_cast<int64_t>(random() % most); };
  for (int i = 0; i < 20000; ++i) {
    const ImageSize size{draw(i % 2 == 0 ? 3000 : 60), draw(i % 3 == 0 ? 3000 : 60)};
    if (std::max(size.width, size.height) > 200 * std::min(size.width, size.height)) continue;
    const int64_t patch_size = draw(20);
    const int64_t max_patches = draw(i % 5 == 0 ? 4 : 1200);
    const ImageSize fitted = fit_image(size, patch_size, max_patches);
    ASSERT_TRUE(fitted.width > 0 && fitted.height > 0);
    ASSERT_EQ(fitted.width % patch_size, 0);
    ASSERT_EQ(fitted.height % patch_size, 0);
    ASSERT_LE(fitted.width / patch_size * (fitted.height / patch_size), max_patches);
    // Of a square, what the rounding of both sides leaves.
    if (size.width == size.height) {
      ASSERT_EQ(fitted.width, fitted.height);
    }
  }
}

TEST(FitImage, RefusesStrips) {
  EXPECT_NO_THROW(fit_image({3200, 16}, 16, 256));
  try {
    fit_image({3201, 16}, 16, 256);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("3201 x 16 pixels; one side may be at most 200 times"));
  }
}

}  // namespace
}  // namespace coeus
