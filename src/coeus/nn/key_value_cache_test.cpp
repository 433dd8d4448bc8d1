#include "coeus/nn/key_value_cache.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/base/error.h"

namespace coeus::nn {
namespace {

TEST(KeyValueCache, GivesAllTokensOfALayerInTheOrderGiven) {
  const at::NoGradGuard no_grad;
  torch::manual_seed(1);
  KeyValueCache cache;
  const int one = 0, two = 0;
  const at::Tensor keys = at::randn({2, 30, 3, 4}), values = at::randn({2, 30, 5});
  at::Tensor k, v;
  int64_t begin = 0;
  for (const int64_t count : {7, 1, 1, 0, 12, 1, 8}) {
    at::Tensor other = at::zeros({2, count, 1});
    k = keys.narrow(1, begin, count);
    v = values.narrow(1, begin, count);
    cache.extend(&one, {&k, &v});
    cache.extend(&two, {&other});
    begin += count;
    EXPECT_TRUE(at::equal(k, keys.narrow(1, 0, begin)));
    EXPECT_TRUE(at::equal(v, values.narrow(1, 0, begin)));
    EXPECT_EQ(other.size(1), begin);
  }
  EXPECT_EQ(begin, 30);
}

TEST(KeyValueCache, CountsItsMemory) {
  const at::NoGradGuard no_grad;
  KeyValueCache cache;
  EXPECT_EQ(cache.bytes(), 0);
  at::Tensor k = at::zeros({1, 5, 2}), v = at::zeros({1, 5, 3}, at::kBFloat16);
  cache.extend(&cache, {&k, &v});
  EXPECT_EQ(cache.bytes(), 5 * 2 * 4 + 5 * 3 * 2);
}

TEST(KeyValueCache, RefusesALayerThatGivesSomethingElse) {
  const at::NoGradGuard no_grad;
  KeyValueCache cache;
  const auto give = [&](std::vector<int64_t> sizes, at::ScalarType dtype = at::kFloat) {
    at::Tensor x = at::zeros(sizes, dtype);
    cache.extend(&cache, {&x});
  };
  give({1, 5, 2});
  EXPECT_THROW(give({2, 5, 2}), Error);
  EXPECT_THROW(give({1, 5, 3}), Error);
  EXPECT_THROW(give({1, 5}), Error);
  EXPECT_THROW(give({1, 5, 2}, at::kDouble), Error);
  at::Tensor a = at::zeros({1, 5, 2}), b = a;
  EXPECT_THROW(cache.extend(&cache, {&a, &b}), Error);
  EXPECT_NO_THROW(give({1, 1, 2}));
}

TEST(KeyValueCache, RefusesToBreakTheGradient) {
  KeyValueCache cache;
  at::Tensor x = at::zeros({1, 5, 2});
  EXPECT_THROW(cache.extend(&cache, {&x}), Error);
}

}  // namespace
}  // namespace coeus::nn
