#include "coeus/nn/autocast.h"

#include <gtest/gtest.h>
#include <torch/types.h>

namespace coeus::nn {
namespace {

at::ScalarType type_of_a_product() {
  const at::Tensor x = at::ones({2, 2});
  return at::matmul(x, x).scalar_type();
}

TEST(Autocast, HoldsWhileItLives) {
  EXPECT_EQ(type_of_a_product(), at::kFloat);
  {
    const Autocast on(at::kBFloat16);
    EXPECT_EQ(type_of_a_product(), at::kBFloat16);
    {
      const Autocast off(at::kFloat);
      EXPECT_EQ(type_of_a_product(), at::kFloat);
    }
    EXPECT_EQ(type_of_a_product(), at::kBFloat16);
  }
  EXPECT_EQ(type_of_a_product(), at::kFloat);
}

TEST(Autocast, SetsTheStateThatWasReadElsewhere) {
  Autocast::State state;
  {
    const Autocast on(at::kBFloat16);
    state = Autocast::current();
  }
  const Autocast again(state);
  EXPECT_EQ(type_of_a_product(), at::kBFloat16);
}

TEST(Autocast, SeesAWeightThatChangedAfterItEnded) {
  at::Tensor weight = at::ones({2, 2}).requires_grad_();
  const auto product = [&] {
    const Autocast on(at::kBFloat16);
    return at::matmul(at::ones({2, 2}), weight).sum().item<float>();
  };
  EXPECT_EQ(product(), 8.0F);
  {
    const at::NoGradGuard no_grad;
    weight.fill_(2);
  }
  EXPECT_EQ(product(), 16.0F);
}

}  // namespace
}  // namespace coeus::nn
