#include "coeus/base/floating_point.h"

#include <gtest/gtest.h>

#include <limits>
#include <thread>

namespace coeus {
namespace {

TEST(FloatingPoint, DenormalsBecomeZeroInThreadsStartedAfterwards) {
  // In a thread of its own, so that other tests keep their denormals.
  std::thread([] {
    volatile float smallest = std::numeric_limits<float>::min();
    EXPECT_NE(smallest / 2, 0.0F);
    flush_denormals_to_zero();
    EXPECT_EQ(smallest / 2, 0.0F);
    std::thread([&] { EXPECT_EQ(smallest / 2, 0.0F); }).join();
  }).join();
}

}  // namespace
}  // namespace coeus
