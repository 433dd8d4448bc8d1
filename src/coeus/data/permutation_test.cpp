#include "coeus/data/permutation.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <vector>

#include "coeus/base/error.h"

namespace coeus {
namespace {

std::vector<uint64_t> images(uint64_t size, uint64_t seed, uint64_t epoch) {
  Permutation permutation(size, seed, epoch);
  std::vector<uint64_t> all(size);
  for (uint64_t i = 0; i < size; ++i) all[i] = permutation(i);
  return all;
}

TEST(Permutation, TakesEveryPlaceOnce) {
  std::vector<uint64_t> sizes(300);
  std::iota(sizes.begin(), sizes.end(), 1);
  for (uint64_t power = 512; power <= 65536; power *= 2) {
    sizes.insert(sizes.end(), {power - 1, power, power + 1});
  }
  for (uint64_t size : sizes) {
    auto all = images(size, size * 7, size % 5);
    std::ranges::sort(all);
    std::vector<uint64_t> expected(size);
    std::iota(expected.begin(), expected.end(), 0);
    ASSERT_EQ(all, expected) << "size " << size;
  }
}

TEST(Permutation, DiffersBySeedAndEpoch) {
  auto base = images(1000, 1, 0);
  EXPECT_EQ(base, images(1000, 1, 0));
  for (const auto& other : {images(1000, 2, 0), images(1000, 1, 1), images(1000, 0, 1)}) {
    auto same = std::inner_product(base.begin(), base.end(), other.begin(), 0, std::plus<>(),
                                   std::equal_to<>());
    EXPECT_LT(same, 10);
  }
}

TEST(Permutation, PutsEveryElementEverywhereAlikeOften) {
  for (uint64_t size : {2, 3, 5, 8, 13}) {
    std::map<std::pair<uint64_t, uint64_t>, int> counts;
    constexpr int kDraws = 4000;
    for (uint64_t seed = 0; seed < kDraws; ++seed) {
      auto all = images(size, seed, 3);
      for (uint64_t i = 0; i < size; ++i) ++counts[{i, all[i]}];
    }
    double expected = kDraws / static_cast<double>(size);
    ASSERT_EQ(counts.size(), size * size);
    for (const auto& [place, count] : counts) {
      EXPECT_NEAR(count, expected, 6 * std::sqrt(expected))
          << "size " << size << ", " << place.first << " at " << place.second;
    }
  }
}

TEST(Permutation, ReachesFarIntoLargeRanges) {
  uint64_t size = (uint64_t{1} << 40) + 12345;
  Permutation permutation(size, 0, 0);
  uint64_t largest = 0;
  for (uint64_t i = 0; i < 64; ++i) {
    ASSERT_LT(permutation(i), size);
    largest = std::max(largest, permutation(i));
  }
  EXPECT_GT(largest, size / 2);
}

TEST(Permutation, RefusesWhatLiesOutside) {
  EXPECT_THROW(Permutation(0, 0, 0), Error);
  EXPECT_THROW(Permutation(3, 0, 0)(3), Error);
}

}  // namespace
}  // namespace coeus
