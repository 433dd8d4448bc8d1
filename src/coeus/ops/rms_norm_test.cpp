#include "coeus/ops/rms_norm.h"

#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/base/error.h"
#include "coeus/ops/test_device.h"

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

using AddRmsNormFunction = std::pair<at::Tensor, at::Tensor> (*)(const at::Tensor&,
                                                                 const at::Tensor&,
                                                                 const at::Tensor&, double);

std::pair<at::Tensor, at::Tensor> sum_then_norm(const at::Tensor& x, const at::Tensor& y,
                                                const at::Tensor& weight, double eps) {
  const at::Tensor sum = x + y;
  return {sum, rms_norm(sum, weight, eps)};
}

/// Which of the two results something is computed from.
enum class Uses { kBoth, kSum, kNormed };

struct AddRmsNormCase {
  at::Tensor x, y, weight, grad_sum, grad_normed;

  AddRmsNormCase(at::ScalarType x_dtype, at::ScalarType y_dtype, int64_t dim) {
    torch::manual_seed(dim);
    const auto random = [](at::IntArrayRef sizes) { return at::randn(sizes).to(test_device()); };
    x = random({2, 35, dim}).to(x_dtype);
    y = random({2, 35, dim}).to(y_dtype);
    weight = (1 + 0.1 * random({dim})).to(at::result_type(x, y));
    grad_sum = random({2, 35, dim});
    grad_normed = random({2, 35, dim});
  }

  AddRmsNormCase in_double() const {
    AddRmsNormCase wide = *this;
    for (at::Tensor* tensor : {&wide.x, &wide.y, &wide.weight, &wide.grad_sum, &wide.grad_normed})
      *tensor = tensor->to(at::kCPU, at::kDouble);
    return wide;
  }

  /// Sum, norm, and the gradients of x, y and the weight; those that there are.
  std::vector<at::Tensor> run(AddRmsNormFunction f, Uses uses = Uses::kBoth,
                              bool autocast = false) const {
    const at::Tensor x_in = x.detach().requires_grad_(), y_in = y.detach().requires_grad_(),
                     w_in = weight.detach().requires_grad_();
    at::autocast::set_autocast_dtype(x.device().type(), at::kBFloat16);
    at::autocast::set_autocast_enabled(x.device().type(), autocast);
    const auto [sum, normed] = f(x_in, y_in, w_in, 1e-5);
    at::autocast::set_autocast_enabled(x.device().type(), false);
    at::Tensor loss = at::zeros({}, grad_sum.options());
    if (uses != Uses::kNormed) loss = loss + (sum * grad_sum).sum();
    if (uses != Uses::kSum) loss = loss + (normed * grad_normed).sum();
    loss.backward();
    return {sum.detach(), normed.detach(), x_in.grad(), y_in.grad(), w_in.grad()};
  }
};

std::vector<std::pair<at::ScalarType, at::ScalarType>> dtypes_of_sums() {
  return {{at::kFloat, at::kFloat},
          {at::kBFloat16, at::kBFloat16},
          {at::kFloat, at::kBFloat16},
          {at::kBFloat16, at::kFloat},
          {at::kDouble, at::kDouble}};
}

TEST(AddRmsNorm, AgreesWithTheReferenceForwardAndBackward) {
  for (const auto& [x_dtype, y_dtype] : dtypes_of_sums())
    for (int64_t dim : {1, 17, 128})
      for (Uses uses : {Uses::kBoth, Uses::kSum, Uses::kNormed})
        for (bool autocast : {false, true}) {
          const AddRmsNormCase c(x_dtype, y_dtype, dim);
          const auto got = c.run(add_rms_norm, uses, autocast);
          const auto want = c.in_double().run(add_rms_norm_reference, uses);
          const bool narrow = autocast || x_dtype == at::kBFloat16 || y_dtype == at::kBFloat16;
          for (size_t i = 0; i < want.size(); ++i) {
            const std::string what = "output " + std::to_string(i) + ", dim " +
                                     std::to_string(dim) + ", " + c10::toString(x_dtype) + " + " +
                                     c10::toString(y_dtype);
            ASSERT_EQ(got[i].defined(), want[i].defined()) << what;
            if (!want[i].defined()) continue;
            const at::Tensor difference = got[i].to(at::kCPU, at::kDouble) - want[i];
            EXPECT_LE(difference.abs().max().item<double>(),
                      (narrow ? 3e-2 : 2e-5) * (1 + want[i].abs().max().item<double>()))
                << what;
          }
        }
}

TEST(AddRmsNormBits, AreThoseOfTheSumAndThenItsNorm) {
  for (const auto& [x_dtype, y_dtype] : dtypes_of_sums())
    for (int64_t dim : {17, 128})
      for (Uses uses : {Uses::kBoth, Uses::kSum, Uses::kNormed}) {
        const AddRmsNormCase c(x_dtype, y_dtype, dim);
        const auto got = c.run(add_rms_norm, uses), want = c.run(sum_then_norm, uses);
        for (size_t i = 0; i < want.size(); ++i) {
          ASSERT_EQ(got[i].defined(), want[i].defined()) << i;
          if (!want[i].defined()) continue;
          EXPECT_TRUE(at::equal(got[i], want[i])) << "output " << i << ", dim " << dim;
        }
      }
}

TEST(AddRmsNorm, OtherSizesAreRefused) {
  EXPECT_THROW(add_rms_norm(at::ones({2, 3}), at::ones({3}), at::ones({3}), 1e-5), Error);
  EXPECT_THROW(add_rms_norm(at::ones({2, 3}), at::ones({2, 3}), at::ones({4}), 1e-5), Error);
}

}  // namespace
}  // namespace coeus
