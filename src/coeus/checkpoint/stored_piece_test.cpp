#include "coeus/checkpoint/stored_piece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::Pair;

std::vector<std::pair<uint64_t, uint64_t>> runs_of(const BoxWithin& box, uint64_t begin,
                                                   uint64_t length) {
  std::vector<std::pair<uint64_t, uint64_t>> runs;
  box.for_each_run(begin, length, [&](uint64_t at, uint64_t n) { runs.emplace_back(at, n); });
  return runs;
}

TEST(BoxWithin, RowsAreOneRunAndColumnsARunEach) {
  const auto whole = TensorSlice::whole_of({4, 5});
  EXPECT_THAT(runs_of({whole.narrowed(0, 1, 2), whole, 2}, 0, 20), ElementsAre(Pair(10, 20)));
  EXPECT_THAT(runs_of({whole.narrowed(1, 3, 2), whole, 2}, 0, 16),
              ElementsAre(Pair(6, 4), Pair(16, 4), Pair(26, 4), Pair(36, 4)));
  EXPECT_THAT(runs_of({whole.narrowed(1, 3, 2), whole, 2}, 6, 4),
              ElementsAre(Pair(18, 2), Pair(26, 2)));
  const auto scalar = TensorSlice::whole_of({});
  EXPECT_THAT(runs_of({scalar, scalar, 8}, 0, 8), ElementsAre(Pair(0, 8)));
}

class RandomBoxes {
 public:
  int64_t below(int64_t bound) {
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(bound));
  }
  std::vector<int64_t> shape() {
    std::vector<int64_t> shape;
    for (int64_t n = below(5); n > 0; --n) shape.push_back(1 + below(4));
    return shape;
  }
  TensorSlice within(TensorSlice slice) {
    for (size_t d = 0; d < slice.size.size(); ++d) {
      const int64_t begin = below(slice.size[d]);
      slice = slice.narrowed(static_cast<int64_t>(d), begin, 1 + below(slice.size[d] - begin));
    }
    return slice;
  }

 private:
  std::mt19937_64 random_{5};
};

// The number of each element of a box within the whole, in row-major order.
std::vector<uint64_t> elements_of(const TensorSlice& box) {
  std::vector<uint64_t> elements;
  const int64_t count = box.numel();
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, stride = 1, at = 0;
    for (size_t d = box.size.size(); d-- > 0;) {
      at += (box.begin[d] + rest % box.size[d]) * stride;
      rest /= box.size[d];
      stride *= box.whole[d];
    }
    elements.push_back(static_cast<uint64_t>(at));
  }
  return elements;
}

TEST(BoxWithin, FindsEveryByteOfRandomBoxes) {
  RandomBoxes random;
  for (int i = 0; i < 1000; ++i) {
    const auto outer = random.within(TensorSlice::whole_of(random.shape()));
    const auto box = random.within(outer);
    const auto held = elements_of(outer);
    std::vector<uint64_t> expected;
    for (const uint64_t element : elements_of(box)) {
      const auto place = std::find(held.begin(), held.end(), element) - held.begin();
      for (uint64_t byte : {0, 1}) expected.push_back(2 * static_cast<uint64_t>(place) + byte);
    }
    const auto begin = static_cast<size_t>(random.below(static_cast<int64_t>(expected.size())));
    std::vector<uint64_t> found;
    BoxWithin(box, outer, 2)
        .for_each_run(begin, expected.size() - begin, [&](uint64_t at, uint64_t n) {
          for (; n > 0; --n) found.push_back(at++);
        });
    expected.erase(expected.begin(), expected.begin() + static_cast<long>(begin));
    ASSERT_EQ(found, expected);
  }
}

TEST(CoverExactly, KnowsHolesAndOverlaps) {
  const auto whole = TensorSlice::whole_of({4, 4});
  EXPECT_TRUE(cover_exactly({4, 4}, {whole}));
  EXPECT_TRUE(cover_exactly({4, 4}, {whole.narrowed(0, 2, 2), whole.narrowed(0, 0, 2)}));
  EXPECT_FALSE(cover_exactly({4, 4}, {whole.narrowed(0, 2, 2), whole.narrowed(0, 1, 2)}));
  EXPECT_FALSE(cover_exactly({4, 4}, {whole.narrowed(0, 0, 3)}));
  EXPECT_FALSE(cover_exactly({4, 4}, {whole, whole.narrowed(0, 0, 1)}));
  EXPECT_FALSE(cover_exactly({4, 4}, {}));
  EXPECT_TRUE(cover_exactly({0, 4}, {}));
  EXPECT_FALSE(cover_exactly({}, {}));
  EXPECT_FALSE(cover_exactly({}, {TensorSlice::whole_of({}), TensorSlice::whole_of({})}));
}

TEST(CoverExactly, AgreesWithCountingElements) {
  RandomBoxes random;
  int covered = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::vector<int64_t> shape = {1 + random.below(3), 1 + random.below(3)};
    std::vector<TensorSlice> boxes;
    std::vector<int> count(static_cast<size_t>(shape[0] * shape[1]));
    for (int64_t n = 1 + random.below(4); n > 0; --n) {
      boxes.push_back(random.within(TensorSlice::whole_of(shape)));
      for (const uint64_t element : elements_of(boxes.back())) ++count[element];
    }
    const bool expected = std::all_of(count.begin(), count.end(), [](int n) { return n == 1; });
    covered += expected;
    ASSERT_EQ(cover_exactly(shape, boxes), expected);
  }
  EXPECT_GT(covered, 100);
}

TEST(NameOfPiece, SaysThePlaceUnlessItIsWhole) {
  const auto whole = TensorSlice::whole_of({4, 3});
  EXPECT_EQ(name_of_piece("w", whole), "w");
  EXPECT_EQ(name_of_piece("w", whole.narrowed(0, 2, 2)), "w[2:4, 0:3]");
}

}  // namespace
}  // namespace coeus
