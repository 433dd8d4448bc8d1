#include "coeus/base/shortest_number.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>

namespace coeus {
namespace {

TEST(ShortestNumber, IsShort) {
  EXPECT_EQ(shortest_number(0.1), "0.1");
  EXPECT_EQ(shortest_number(7.0), "7");
  EXPECT_EQ(shortest_number(-2.5e-9), "-2.5e-09");
}

TEST(ShortestNumber, OfAFloatHasTheFloatsDigitsOnly) {
  EXPECT_EQ(shortest_number(7.66150951f), "7.6615095");
  EXPECT_EQ(shortest_number(double{7.66150951f}), "7.6615095138549805");
}

TEST(ShortestNumber, NamesWhatIsNotFinite) {
  EXPECT_EQ(shortest_number(std::nan("")), "nan");
  EXPECT_EQ(shortest_number(-std::nan("")), "nan");
  EXPECT_EQ(shortest_number(std::numeric_limits<float>::infinity()), "inf");
  EXPECT_EQ(shortest_number(-std::numeric_limits<double>::infinity()), "-inf");
}

TEST(ShortestNumber, ReadsBackTheSameForAnyBits) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 20000; ++i) {
    double wide = std::bit_cast<double>(random());
    if (std::isfinite(wide)) {
      EXPECT_EQ(std::strtod(shortest_number(wide).c_str(), nullptr), wide);
    }
    float narrow = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (std::isfinite(narrow)) {
      EXPECT_EQ(std::strtof(shortest_number(narrow).c_str(), nullptr), narrow);
    }
  }
}

}  // namespace
}  // namespace coeus
