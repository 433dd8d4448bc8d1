#include "coeus/nn/rope.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <numbers>

#include "coeus/base/error.h"

namespace coeus::nn {
namespace {

/// The angle a position adds for pair i, read back from the table's row 1.
double frequency(const RopeOptions& options, int64_t pair) {
  const at::Tensor row = rope_table(options)[1][pair];
  return std::atan2(row[1].item<double>(), row[0].item<double>());
}

TEST(RopeTable, HighFrequenciesAreKeptAndLowOnesStretchedByTheFactor) {
  const RopeOptions options = {.head_dim = 128, .max_positions = 2, .theta = 500000};
  const auto plain = [&](int64_t pair) { return std::pow(500000.0, -2.0 * pair / 128); };
  // Wavelengths below 8192 / 4 stay, those above 8192 / 1 stretch by 8.
  EXPECT_NEAR(frequency(options, 0), plain(0), 1e-6);
  EXPECT_NEAR(frequency(options, 63) / (plain(63) / 8), 1, 1e-4);
}

TEST(RopeTable, BetweenThemTheFrequencyIsBlended) {
  const RopeOptions options = {.head_dim = 128, .max_positions = 2, .theta = 500000};
  for (int64_t pair = 0; pair < 64; ++pair) {
    const double plain = std::pow(500000.0, -2.0 * pair / 128);
    const double wavelength = 2 * std::numbers::pi / plain;
    if (wavelength < 2048 || wavelength > 8192) continue;
    const double blend = (8192 / wavelength - 1) / 3;
    EXPECT_NEAR(frequency(options, pair) / ((1 - blend) * plain / 8 + blend * plain), 1, 1e-4);
  }
}

TEST(RopeTable, WithoutScalingEveryFrequencyIsKept) {
  const RopeOptions options = {
      .head_dim = 128, .max_positions = 2, .theta = 1e6, .scaling = std::nullopt};
  for (const int64_t pair : {0, 31, 63})
    EXPECT_NEAR(frequency(options, pair) / std::pow(1e6, -2.0 * pair / 128), 1, 1e-4);
}

TEST(RopeTable, FirstPositionTurnsNothing) {
  const at::Tensor table = rope_table({.head_dim = 8, .max_positions = 3});
  EXPECT_EQ(table.sizes(), (std::vector<int64_t>{3, 4, 2}));
  EXPECT_TRUE(at::equal(table[0].select(-1, 0), at::ones({4})));
  EXPECT_TRUE(at::equal(table[0].select(-1, 1), at::zeros({4})));
}

TEST(RopeTable, BadSizesAreRefused) {
  EXPECT_THROW(rope_table({.head_dim = 7, .max_positions = 3}), Error);
  EXPECT_THROW(rope_table({.head_dim = 8, .max_positions = 0}), Error);
}

}  // namespace
}  // namespace coeus::nn
