#include "coeus/base/random.h"

#include <gtest/gtest.h>

#include <cmath>

namespace coeus {
namespace {

TEST(Random, Mix64MatchesPublishedSplitmixOutputs) {
  // The first outputs of splitmix64 started at 0.
  const uint64_t gamma = 0x9E3779B97F4A7C15ULL;
  EXPECT_EQ(mix64(gamma), 0xE220A8397B1DCDAFULL);
  EXPECT_EQ(mix64(2 * gamma), 0x6E789E6AA1B965F4ULL);
}

TEST(Random, Fnv1a64MatchesPublishedHashes) {
  EXPECT_EQ(fnv1a64(""), 0xCBF29CE484222325ULL);
  EXPECT_EQ(fnv1a64("a"), 0xAF63DC4C8601EC8CULL);
}

TEST(Random, NormalQuantileInvertsTheDistributionFunction) {
  for (double z = -8; z <= 8; z += 0.37) {
    const double p = 0.5 * std::erfc(-z / std::sqrt(2.0));
    // Near 1 the probability itself has lost the digits.
    const double tolerance = z > 5 ? 1e-1 : 1e-9;
    EXPECT_NEAR(normal_quantile(p), z, tolerance) << "p = " << p;
  }
}

TEST(Random, NormalDrawsHaveTheMomentsOfTheNormalDistribution) {
  const CounterRandom random(7, "layers.0.weight");
  const int n = 200'000;
  double sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < n; ++i) {
    const double z = random.normal(i);
    sum += z;
    squares += z * z;
    fourth += z * z * z * z;
  }
  EXPECT_NEAR(sum / n, 0, 0.01);
  EXPECT_NEAR(squares / n, 1, 0.02);
  EXPECT_NEAR(fourth / n, 3, 0.1);
}

TEST(Random, DrawsDependOnSeedNameAndElement) {
  const uint64_t draw = CounterRandom(1, "a").bits(0);
  EXPECT_EQ(CounterRandom(1, "a").bits(0), draw);
  EXPECT_NE(CounterRandom(2, "a").bits(0), draw);
  EXPECT_NE(CounterRandom(1, "b").bits(0), draw);
  EXPECT_NE(CounterRandom(1, "a").bits(1), draw);
}

TEST(CounterRandom, IsNeitherZeroNorOneAtTheEndsOfItsBits) {
  EXPECT_GT(uniform_from_bits(0), 0);
  EXPECT_LT(uniform_from_bits(~uint64_t{0}), 1);
  EXPECT_TRUE(std::isfinite(normal_quantile(uniform_from_bits(~uint64_t{0}))));
}

}  // namespace
}  // namespace coeus
