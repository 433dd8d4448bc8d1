#include "coeus/ops/linear.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/base/error.h"
#include "coeus/ops/test_autocast.h"

namespace coeus {
namespace {

TEST(Linear, AgreesWithTheReferenceForwardAndBackward) {
  torch::manual_seed(1);
  for (const auto& [in, out] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {7, 3}, {256, 96}}) {
    const at::Tensor start = at::randn({2, 33, in}), weights = at::randn({out, in});
    const at::Tensor grad = at::randn({2, 33, out});
    auto run = [&](auto f) {
      at::Tensor x = start.clone().requires_grad_(), w = weights.clone().requires_grad_();
      const at::Tensor y = f(x, w);
      (y * grad).sum().backward();
      return std::vector<at::Tensor>{y.detach(), x.grad(), w.grad()};
    };
    const auto got = run(coeus::linear), want = run(linear_reference);
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_TRUE(at::allclose(got[i], want[i], 1e-5, 1e-4)) << in << " x " << out << ", " << i;
  }
}

TEST(Linear, ATransposedInputIsReadAsItIs) {
  const at::Tensor x = at::randn({12, 5}).t(), weight = at::randn({3, 12});
  EXPECT_TRUE(at::allclose(coeus::linear(x, weight), linear_reference(x, weight), 1e-5, 1e-5));
}

TEST(Linear, AGpuRoundsNoWeightsGradientUnderAutocast) {
  if (test_device().is_cpu()) GTEST_SKIP() << "on the CPU autocast's gradients are rounded";
  torch::manual_seed(1);
  const at::Device device = test_device();
  const at::Tensor x = at::randn({500, 64}).to(device, at::kBFloat16);
  const at::Tensor grad = at::randn({500, 24}).to(device, at::kBFloat16);
  const at::Tensor weight = at::randn({24, 64}).to(device).requires_grad_();
  at::Tensor y;
  {
    const TestAutocast autocast;
    y = coeus::linear(x, weight);
  }
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  y.backward(grad);
  const at::Tensor want = at::mm(grad.t().to(at::kDouble), x.to(at::kDouble));
  EXPECT_EQ(weight.grad().scalar_type(), at::kFloat);
  EXPECT_LE((weight.grad() - want).abs().max().item<double>(), 1e-4);
}

TEST(Linear, SizesThatDoNotFitAreRefused) {
  EXPECT_THROW(coeus::linear(at::ones({2, 3}), at::ones({4, 5})), Error);
}

}  // namespace
}  // namespace coeus
