#include "coeus/ops/kept_results.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/ops/linear.h"

namespace coeus {
namespace {

using Mode = KeptResults::Run::Mode;

at::Tensor twice(const at::Tensor& x, int& computed) {
  return kept_or_computed([&] {
           ++computed;
           return std::vector<at::Tensor>{x * 2};
         })
      .front();
}

TEST(KeptResults, TheSecondRunTakesWhatTheFirstKept) {
  KeptResults results;
  int computed = 0;
  {
    const KeptResults::Run run(results, Mode::kKeep);
    twice(at::ones({2}), computed);
    twice(at::full({2}, 5), computed);
  }
  EXPECT_EQ(computed, 2);
  const KeptResults::Run run(results, Mode::kTake);
  EXPECT_TRUE(at::equal(twice(at::zeros({2}), computed), at::full({2}, 2)));
  EXPECT_TRUE(at::equal(twice(at::zeros({2}), computed), at::full({2}, 10)));
  EXPECT_EQ(computed, 2);
}

TEST(KeptResults, OutsideOfARunEverythingIsComputed) {
  int computed = 0;
  twice(at::ones({1}), computed);
  twice(at::ones({1}), computed);
  EXPECT_EQ(computed, 2);
  EXPECT_EQ(KeptResults::current(), nullptr);
}

TEST(KeptResults, EverySecondLinearIsKeptAndShapesThatAreNeverKeptDoNotCount) {
  KeptResults results(KeptResults::Shapes{{8, 4}});
  const KeptResults::Run run(results, Mode::kKeep);
  EXPECT_TRUE(results.keeps_linear(8, 8));
  EXPECT_FALSE(results.keeps_linear(8, 4));
  EXPECT_FALSE(results.keeps_linear(8, 8));
  EXPECT_TRUE(results.keeps_linear(4, 8));
}

TEST(KeptResults, AKeptProductHasTheGradientsOfAnyOther) {
  torch::manual_seed(1);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor start = at::randn({3, 7, 16}).to(dtype),
                     weights = at::randn({8, 16}).to(dtype);
    const at::Tensor grad = at::randn({3, 7, 8}).to(dtype);
    const auto run = [&](bool kept) {
      at::Tensor x = start.clone().requires_grad_(), w = weights.clone().requires_grad_();
      KeptResults results;
      at::Tensor y;
      if (kept) {
        {
          at::NoGradGuard no_grad;
          const KeptResults::Run keep(results, Mode::kKeep);
          coeus::linear(x, w);
        }
        const KeptResults::Run take(results, Mode::kTake);
        y = coeus::linear(x, w);
      } else {
        y = coeus::linear(x, w);
      }
      y.backward(grad);
      return std::vector<at::Tensor>{y.detach(), x.grad(), w.grad()};
    };
    const auto plain = run(false), kept = run(true);
    for (size_t i = 0; i < plain.size(); ++i) EXPECT_TRUE(at::equal(plain[i], kept[i])) << i;
  }
}

}  // namespace
}  // namespace coeus
