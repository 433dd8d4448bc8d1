#include "coeus/ops/cross_entropy.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

#include "coeus/base/error.h"
#include "coeus/ops/test_device.h"

namespace coeus {
namespace {

TEST(CrossEntropy, AgreesWithTheReferenceForwardAndBackward) {
  torch::manual_seed(1);
  for (auto dtype : {at::kFloat, at::kBFloat16})
    for (int64_t vocab : {1, 2, 37, 2048}) {
      const at::Tensor logits = (at::randn({3, 41, vocab}) * 3).to(dtype);
      at::Tensor labels = at::randint(0, vocab, {3, 41}, at::kLong);
      labels.select(0, 1).fill_(kIgnoredLabel);
      auto run = [&](auto f) {
        at::Tensor in = logits.detach().requires_grad_();
        const at::Tensor loss = f(in, labels);
        (loss / 82).backward();
        return std::pair{loss.detach(), in.grad()};
      };
      const auto got = run(cross_entropy_sum), want = run(cross_entropy_sum_reference);
      EXPECT_NEAR(got.first.item<double>(), want.first.item<double>(),
                  1e-5 * (1 + want.first.item<double>()));
      const double tolerance = dtype == at::kFloat ? 1e-7 : 1e-4;
      EXPECT_LE((got.second - want.second).abs().max().item<double>(), tolerance)
          << "vocab " << vocab << ", " << c10::toString(dtype);
    }
}

TEST(CrossEntropy, UsedUpLogitsBecomeTheirGradient) {
  torch::manual_seed(2);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor start = at::randn({7, 300}).to(test_device(), dtype);
    const at::Tensor labels = at::randint(0, 300, {7}, at::kLong).to(test_device());
    const at::Tensor logits = start.clone().requires_grad_();
    const at::Tensor want =
        torch::autograd::grad({cross_entropy_sum(logits, labels) * 3}, {logits}).front();
    EXPECT_TRUE(at::equal(logits, start));
    const at::Tensor loss = cross_entropy_sum_in_place(logits, labels) * 3;
    const at::Tensor got = torch::autograd::grad({loss}, {logits}, {}, true).front();
    EXPECT_TRUE(at::equal(got, want));
    if (test_device().is_cpu()) continue;
    EXPECT_EQ(got.data_ptr(), logits.data_ptr());
    EXPECT_ANY_THROW(torch::autograd::grad({loss}, {logits}));
  }
}

TEST(CrossEntropy, IgnoredLabelsCountForNothing) {
  at::Tensor logits = at::randn({4, 9}).requires_grad_();
  const at::Tensor loss = cross_entropy_sum(logits, at::full({4}, kIgnoredLabel, at::kLong));
  loss.backward();
  EXPECT_EQ(loss.item<float>(), 0.0F);
  EXPECT_EQ(logits.grad().abs().sum().item<float>(), 0.0F);
}

TEST(CrossEntropy, ANanLogitMakesTheLossNan) {
  for (int64_t place : {0, 3, 31, 99}) {
    at::Tensor logits = at::zeros({1, 100});
    logits[0][place] = NAN;
    EXPECT_TRUE(std::isnan(cross_entropy_sum(logits, at::ones({1}, at::kLong)).item<float>()));
  }
}

TEST(CrossEntropy, LabelsOutsideTheVocabularyAreRefused) {
  EXPECT_THROW(cross_entropy_sum(at::zeros({1, 5}), at::full({1}, 5, at::kLong)), DataError);
  EXPECT_THROW(cross_entropy_sum(at::zeros({1, 5}), at::full({1}, -1, at::kLong)), DataError);
}

}  // namespace
}  // namespace coeus
