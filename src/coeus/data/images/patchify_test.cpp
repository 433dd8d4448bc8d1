#include "coeus/data/images/patchify.h"

#include <gtest/gtest.h>

#include <array>

#include "coeus/base/error.h"

namespace coeus {
namespace {

TEST(AppendPatches, OrdersPatchesThenPixelsThenChannels) {
  // Every value of a pixel is its number in the image: 3 rows of 2 patches of 2 x 2.
  Image image = Image::of({4, 6});
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i);
  std::vector<float> values = {1.5f};
  const ImageGrid grid = append_patches(image, 2, values);
  EXPECT_EQ(grid, (ImageGrid{3, 2}));
  ASSERT_EQ(values.size(), 1 + image.pixels.size());
  EXPECT_EQ(values[0], 1.5f);

  const std::array<double, 3> mean = {0.48145466, 0.4578275, 0.40821073};
  const std::array<double, 3> deviation = {0.26862954, 0.26130258, 0.27577711};
  size_t at = 1;
  for (int patch_row = 0; patch_row < 3; ++patch_row) {
    for (int patch_column = 0; patch_column < 2; ++patch_column) {
      for (int y = 0; y < 2; ++y) {
        for (int x = 0; x < 2; ++x) {
          for (size_t c = 0; c < 3; ++c) {
            const double v = image.pixel(patch_column * 2 + x, patch_row * 2 + y)[c] / 255.0;
            EXPECT_EQ(values[at++], static_cast<float>((v - mean[c]) / deviation[c]));
          }
        }
      }
    }
  }
}

TEST(AppendPatches, RefusesAnImageThatIsNoWholeNumberOfPatches) {
  std::vector<float> values;
  EXPECT_THROW(append_patches(Image::of({4, 5}), 2, values), Error);
}

}  // namespace
}  // namespace coeus
