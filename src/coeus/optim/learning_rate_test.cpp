#include "coeus/optim/learning_rate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace coeus {
namespace {

std::vector<double> factors(const LrSchedulerConfig& config, int64_t steps) {
  const LearningRate rate(1.0, config, steps);
  std::vector<double> all;
  for (int64_t step = 1; step <= steps; ++step) all.push_back(rate.at_step(step));
  return all;
}

using testing::DoubleNear;
using testing::ElementsAre;
using testing::Pointwise;

TEST(LearningRate, TorchTitansDebugScheduleOfTenSteps) {
  EXPECT_THAT(factors({.warmup_steps = 2, .decay_ratio = 0.8}, 10),
              Pointwise(testing::DoubleEq(), {0.5, 1., 1., .875, .75, .625, .5, .375, .25, .125}));
}

TEST(LearningRate, WithoutARatioDecayStartsAfterWarmup) {
  EXPECT_THAT(factors({.warmup_steps = 1}, 5),
              Pointwise(testing::DoubleEq(), {1., 1., .75, .5, .25}));
}

TEST(LearningRate, SqrtAndCosineDecay) {
  EXPECT_THAT(factors({.warmup_steps = 0, .decay_type = "sqrt"}, 4),
              ElementsAre(1.0, 0.5, DoubleNear(1 - std::sqrt(0.5), 1e-12),
                          DoubleNear(1 - std::sqrt(0.75), 1e-12)));
  EXPECT_THAT(factors({.warmup_steps = 0, .decay_type = "cosine"}, 4),
              ElementsAre(1.0, DoubleNear(0.5 * (1 + std::sqrt(0.5)), 1e-12),
                          DoubleNear(0.5, 1e-12), DoubleNear(0.5 * (1 - std::sqrt(0.5)), 1e-12)));
}

TEST(LearningRate, DecayEndsAtTheMinimumFactor) {
  const auto all = factors({.warmup_steps = 0, .min_lr_factor = 0.1}, 10);
  EXPECT_NEAR(all.back(), 0.1 + 0.9 * 0.1, 1e-12);
}

TEST(LearningRate, WarmupLongerThanTheRunIsCut) {
  EXPECT_THAT(factors({.warmup_steps = 100}, 4),
              Pointwise(testing::DoubleEq(), {.25, .5, .75, 1.}));
}

TEST(LearningRate, DecayIsCutToWhatWarmupLeaves) {
  EXPECT_EQ(factors({.warmup_steps = 6, .decay_ratio = 0.8}, 10),
            factors({.warmup_steps = 6, .decay_ratio = 0.4}, 10));
}

}  // namespace
}  // namespace coeus
