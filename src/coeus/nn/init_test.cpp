#include "coeus/nn/init.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>

namespace coeus::nn {
namespace {

TEST(Init, DrawsHaveTheStandardDeviationAskedFor) {
  at::Tensor x = at::empty({300, 300});
  init_normal(x, 1, "x", 0.5);
  EXPECT_NEAR(x.mean().item<double>(), 0, 0.01);
  EXPECT_NEAR(x.std().item<double>(), 0.5, 0.01);
  init_truncated_normal(x, 1, "x", 0.02);
  EXPECT_NEAR(x.std().item<double>(), 0.02, 0.001);
}

TEST(Init, TruncatedDrawsStayWithinTheCut) {
  at::Tensor x = at::empty({100000});
  init_truncated_normal(x, 1, "x", 1.0, 1.5);
  EXPECT_LE(x.abs().max().item<double>(), 1.5);
  EXPECT_GT(x.abs().max().item<double>(), 1.49);
  // The standard deviation of a normal distribution cut at 1.5.
  EXPECT_NEAR(x.std().item<double>(), 0.7426, 0.01);
}

TEST(Init, UniformDrawsFillTheirRange) {
  at::Tensor x = at::empty({100000});
  init_uniform(x, 1, "x", 0.3);
  EXPECT_LE(x.abs().max().item<double>(), 0.3);
  EXPECT_GT(x.max().item<double>(), 0.299);
  EXPECT_LT(x.min().item<double>(), -0.299);
  EXPECT_NEAR(x.std().item<double>(), 0.3 / std::sqrt(3.0), 0.001);
}

TEST(Init, ValuesDoNotDependOnTheNumberOfThreads) {
  at::Tensor many = at::empty({50000}), one = at::empty({50000});
  init_normal(many, 3, "w", 1.0);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  init_normal(one, 3, "w", 1.0);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(many, one));
}

TEST(Init, SeedAndNameDecide) {
  at::Tensor a = at::empty({8}), b = at::empty({8});
  init_normal(a, 1, "w", 1.0);
  init_normal(b, 1, "w", 1.0);
  EXPECT_TRUE(at::equal(a, b));
  init_normal(b, 2, "w", 1.0);
  EXPECT_FALSE(at::equal(a, b));
  init_normal(b, 1, "v", 1.0);
  EXPECT_FALSE(at::equal(a, b));
}

TEST(Init, ASliceHoldsTheValuesOfTheWhole) {
  at::Tensor whole = at::empty({7, 5, 6});
  init_normal(whole, 3, "w", 1.0);
  for (const auto& [begin, size] :
       {std::pair<std::vector<int64_t>, std::vector<int64_t>>{{2, 0, 0}, {3, 5, 6}},
        {{0, 1, 0}, {7, 2, 6}},
        {{1, 2, 3}, {4, 3, 2}},
        {{7, 0, 0}, {0, 5, 6}}}) {
    const std::map<std::string, TensorSlice> slices = {{"w", {{7, 5, 6}, begin, size}}};
    at::Tensor part = at::empty(size);
    {
      const SlicedInit sliced(slices);
      init_normal(part, 3, "w", 1.0);
    }
    at::Tensor expected = whole;
    for (int64_t dim = 0; dim < 3; ++dim) expected = expected.narrow(dim, begin[dim], size[dim]);
    EXPECT_TRUE(at::equal(part, expected));
  }
}

}  // namespace
}  // namespace coeus::nn
