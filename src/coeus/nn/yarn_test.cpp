#include "coeus/nn/yarn.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>

#include "coeus/nn/rope.h"

namespace coeus::nn {
namespace {

constexpr double kTheta = 10000;

/// How much each of 32 pairs is slowed: 1 for not at all.
std::vector<double> slowed(const Yarn& yarn) {
  const at::Tensor plain = rope_frequencies(64, kTheta);
  const at::Tensor ratio = plain / yarn_frequencies(plain, kTheta, yarn);
  std::vector<double> values;
  for (int64_t i = 0; i < ratio.numel(); ++i) values.push_back(ratio[i].item<double>());
  return values;
}

TEST(Yarn, FastPairsAreKeptAndSlowOnesStretchedByTheFactor) {
  const std::vector<double> values = slowed({});
  // Pair 10.47 turns 32 times in 4096 positions and pair 22.51 once: the ramp goes from 10 to 23.
  for (int i = 0; i <= 10; ++i) EXPECT_NEAR(values[i], 1, 1e-5) << i;
  for (int i = 23; i < 32; ++i) EXPECT_NEAR(values[i], 40, 1e-3) << i;
}

TEST(Yarn, BetweenThemARampJoins) {
  const std::vector<double> values = slowed({});
  for (int i = 11; i < 23; ++i) {
    const double stretched = (i - 10) / 13.0;
    EXPECT_NEAR(1 / values[i], stretched / 40 + (1 - stretched), 1e-5) << i;
  }
}

TEST(Yarn, TheTemperatureGrowsWithTheLogarithmOfTheFactor) {
  EXPECT_DOUBLE_EQ(yarn_mscale(40, 1.0), 0.1 * std::log(40.0) + 1.0);
  EXPECT_DOUBLE_EQ(yarn_mscale(40, 0.7), 0.07 * std::log(40.0) + 1.0);
  EXPECT_DOUBLE_EQ(yarn_mscale(1, 1.0), 1.0);
}

}  // namespace
}  // namespace coeus::nn
