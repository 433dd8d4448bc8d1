#include "coeus/ops/swiglu.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/base/error.h"

namespace coeus {
namespace {

class Swiglu : public testing::TestWithParam<std::pair<at::ScalarType, double>> {};

TEST_P(Swiglu, AgreesWithTheReferenceForwardAndBackward) {
  const auto [dtype, tolerance] = GetParam();
  torch::manual_seed(1);
  for (int64_t n : {1, 7, 33, 5000}) {
    const at::Tensor gate = (at::randn({3, n}) * 4).to(dtype);
    const at::Tensor up = at::randn({3, n}).to(dtype);
    const at::Tensor weight = at::randn({3, n}).to(dtype);
    auto run = [&](auto f) {
      at::Tensor g = gate.detach().requires_grad_(), u = up.detach().requires_grad_();
      const at::Tensor out = f(g, u);
      (out * weight).sum().backward();
      return std::vector<at::Tensor>{out.detach(), g.grad(), u.grad()};
    };
    const auto got = run(swiglu), want = run(swiglu_reference);
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_TRUE(at::allclose(got[i].to(at::kFloat), want[i].to(at::kFloat), tolerance, tolerance))
          << "output " << i << " of n = " << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Swiglu,
                         testing::Values(std::pair{at::kFloat, 1e-5},
                                         std::pair{at::kBFloat16, 4e-2}),
                         [](const auto& info) { return c10::toString(info.param.first); });

TEST(SwigluInput, ExtremeGatesStayFinite) {
  const at::Tensor gate = at::tensor({-1e30F, -100.0F, -88.0F, 0.0F, 88.0F, 100.0F, 1e30F});
  const at::Tensor out = swiglu(gate, at::ones_like(gate));
  EXPECT_TRUE(at::allclose(out, at::tensor({0.0F, 0.0F, 0.0F, 0.0F, 88.0F, 100.0F, 1e30F})));
}

TEST(SwigluInput, NanPassesThrough) {
  const at::Tensor gate = at::full({40}, NAN);
  EXPECT_TRUE(swiglu(gate, at::ones_like(gate)).isnan().all().item<bool>());
}

TEST(SwigluInput, DifferentShapesAreRefused) {
  EXPECT_THROW(swiglu(at::ones({2, 3}), at::ones({3, 2})), Error);
}

}  // namespace
}  // namespace coeus
