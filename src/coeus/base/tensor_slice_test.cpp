#include "coeus/base/tensor_slice.h"

#include <gtest/gtest.h>

#include <random>

#include "coeus/base/error.h"

namespace coeus {
namespace {

TEST(TensorSlice, OfAWholeTensorIsWhole) {
  const auto whole = TensorSlice::whole_of({4, 6});
  EXPECT_EQ(whole, (TensorSlice{{4, 6}, {0, 0}, {4, 6}}));
  EXPECT_TRUE(whole.is_whole());
  EXPECT_EQ(whole.numel(), 24);
}

TEST(TensorSlice, OfAScalarHoldsOneElement) {
  const auto scalar = TensorSlice::whole_of({});
  EXPECT_TRUE(scalar.is_whole());
  EXPECT_EQ(scalar.numel(), 1);
  EXPECT_EQ(scalar.intersection(scalar), scalar);
}

TEST(TensorSlice, NarrowsRelativeToItself) {
  const auto half = TensorSlice::whole_of({4, 6}).narrowed(1, 3, 3);
  EXPECT_EQ(half, (TensorSlice{{4, 6}, {0, 3}, {4, 3}}));
  EXPECT_FALSE(half.is_whole());
  EXPECT_EQ(half.narrowed(1, 1, 2).narrowed(0, 2, 1), (TensorSlice{{4, 6}, {2, 4}, {1, 2}}));
}

TEST(TensorSlice, MayBeEmpty) {
  const auto none = TensorSlice::whole_of({4, 6}).narrowed(0, 4, 0);
  EXPECT_EQ(none.numel(), 0);
  EXPECT_EQ(none.intersection(TensorSlice::whole_of({4, 6})), std::nullopt);
  EXPECT_TRUE(TensorSlice::whole_of({0, 6}).is_whole());
}

TEST(TensorSlice, RefusesToLeaveItself) {
  const auto slice = TensorSlice::whole_of({4, 6}).narrowed(0, 1, 2);
  EXPECT_THROW(slice.narrowed(2, 0, 1), Error);
  EXPECT_THROW(slice.narrowed(-1, 0, 1), Error);
  EXPECT_THROW(slice.narrowed(0, 1, 2), Error);
  EXPECT_THROW(slice.narrowed(0, -1, 1), Error);
  EXPECT_THROW(slice.narrowed(0, 1, -1), Error);
  EXPECT_THROW(slice.narrowed(0, INT64_MAX, INT64_MAX), Error);
  EXPECT_THROW(slice.intersection(TensorSlice::whole_of({4, 7})), Error);
}

bool holds(const TensorSlice& slice, int64_t row, int64_t column) {
  return row >= slice.begin[0] && row < slice.begin[0] + slice.size[0] &&
         column >= slice.begin[1] && column < slice.begin[1] + slice.size[1];
}

TEST(TensorSlice, IntersectionHoldsWhatBothHold) {
  std::mt19937_64 random(3);
  const auto below = [&](int64_t bound) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(bound));
  };
  const auto random_slice = [&] {
    auto slice = TensorSlice::whole_of({4, 5});
    for (int64_t d : {0, 1}) {
      const int64_t begin = below(slice.size[static_cast<size_t>(d)] + 1);
      slice = slice.narrowed(d, begin, below(slice.size[static_cast<size_t>(d)] - begin + 1));
    }
    return slice;
  };
  for (int i = 0; i < 500; ++i) {
    const auto a = random_slice(), b = random_slice();
    const auto common = a.intersection(b);
    EXPECT_EQ(common, b.intersection(a));
    int64_t in_both = 0;
    for (int64_t row = 0; row < 4; ++row) {
      for (int64_t column = 0; column < 5; ++column) {
        const bool both = holds(a, row, column) && holds(b, row, column);
        EXPECT_EQ(common && holds(*common, row, column), both);
        in_both += both;
      }
    }
    EXPECT_EQ(common ? common->numel() : 0, in_both);
  }
}

}  // namespace
}  // namespace coeus
