#include "coeus/ops/rms_norm.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/base/error.h"

namespace coeus {
namespace {

TEST(RmsNorm, AgreesWithTheReferenceForwardAndBackward) {
  torch::manual_seed(1);
  for (auto dtype : {at::kFloat, at::kBFloat16})
    for (int64_t dim : {1, 17, 256}) {
      const at::Tensor x = at::randn({5, 33, dim}).to(dtype);
      const at::Tensor weight = (1 + 0.1 * at::randn({dim})).to(dtype);
      const at::Tensor grad = at::randn({5, 33, dim}).to(dtype);
      auto run = [&](auto f) {
        at::Tensor in = x.detach().requires_grad_(), w = weight.detach().requires_grad_();
        const at::Tensor out = f(in, w, 1e-5);
        (out * grad).sum().backward();
        return std::vector<at::Tensor>{out.detach(), in.grad(), w.grad()};
      };
      const auto got = run(rms_norm), want = run(rms_norm_reference);
      for (size_t i = 0; i < want.size(); ++i) {
        const at::Tensor a = got[i].to(at::kFloat), b = want[i].to(at::kFloat);
        const double tolerance = dtype == at::kFloat ? 2e-5 : 3e-2;
        EXPECT_LE((a - b).abs().max().item<double>(),
                  tolerance * (1 + b.abs().max().item<double>()))
            << "output " << i << ", dim " << dim << ", " << c10::toString(dtype);
      }
    }
}

TEST(RmsNorm, ReferencePassesGradcheck) {
  // Central differences in double precision.
  torch::manual_seed(2);
  at::Tensor x = at::randn({3, 5}, at::kDouble).requires_grad_();
  const at::Tensor weight = at::randn({5}, at::kDouble);
  rms_norm(x, weight, 1e-5).square().sum().backward();
  for (int64_t i = 0; i < x.numel(); ++i) {
    auto moved = [&](double by) {
      at::Tensor y = x.detach().clone();
      y.view(-1)[i] += by;
      return rms_norm(y, weight, 1e-5).square().sum().item<double>();
    };
    EXPECT_NEAR((moved(1e-6) - moved(-1e-6)) / 2e-6, x.grad().view(-1)[i].item<double>(), 1e-6);
  }
}

TEST(RmsNorm, FloatInputMayHaveABfloat16Weight) {
  at::Tensor weight = at::ones({8}, at::kBFloat16).requires_grad_();
  rms_norm(at::randn({2, 8}), weight, 1e-5).sum().backward();
  EXPECT_EQ(weight.grad().scalar_type(), at::kBFloat16);
}

TEST(RmsNorm, WeightOfAnotherSizeIsRefused) {
  EXPECT_THROW(rms_norm(at::ones({2, 3}), at::ones({4}), 1e-5), Error);
}

}  // namespace
}  // namespace coeus
