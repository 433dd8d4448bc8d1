#include "coeus/train/generate.h"

#include <gtest/gtest.h>

#include <map>

#include "coeus/base/random.h"

namespace coeus {
namespace {

TEST(SampleToken, TemperatureZeroTakesTheLikeliest) {
  EXPECT_EQ(sample_token({0.1F, 3.0F, 2.9F}, 0, 0, 0.99), 1);
  EXPECT_EQ(sample_token({2.0F, 2.0F}, 0, 0, 0.99), 0);
}

TEST(SampleToken, TopKNeverDrawsOutsideTheKLikeliest) {
  const CounterRandom random(1, "test");
  for (int i = 0; i < 500; ++i) {
    const int64_t token = sample_token({0, 1, 2, 3}, 5.0, 2, random.uniform(i));
    EXPECT_TRUE(token == 2 || token == 3) << token;
  }
}

TEST(SampleToken, DrawsFollowTheSoftmaxAtTheTemperature) {
  const CounterRandom random(2, "test");
  std::map<int64_t, int> counts;
  const int n = 20000;
  for (int i = 0; i < n; ++i) ++counts[sample_token({0.0F, 1.0F}, 2.0, 0, random.uniform(i))];
  EXPECT_NEAR(static_cast<double>(counts[1]) / n, 1 / (1 + std::exp(-0.5)), 0.01);
}

}  // namespace
}  // namespace coeus
