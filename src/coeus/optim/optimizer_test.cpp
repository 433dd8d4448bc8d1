#include "coeus/optim/optimizer.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "coeus/base/error.h"
#include "coeus/optim/gradient_norm.h"

namespace coeus {
namespace {

/// A few updates by the formula, in double precision.
at::Tensor plain_updates(const OptimizerConfig& c, const at::Tensor& start,
                         const std::vector<at::Tensor>& gradients, double lr) {
  at::Tensor p = start.to(at::kDouble), m = at::zeros_like(p), v = at::zeros_like(p);
  double t = 0;
  for (const at::Tensor& gradient : gradients) {
    t += 1;
    at::Tensor g = gradient.to(at::kDouble);
    if (c.name == "AdamW") p = p * (1 - lr * c.weight_decay);
    if (c.name == "Adam") g = g + c.weight_decay * p;
    m = c.beta1 * m + (1 - c.beta1) * g;
    v = c.beta2 * v + (1 - c.beta2) * g * g;
    p = p -
        lr * (m / (1 - std::pow(c.beta1, t))) / ((v / (1 - std::pow(c.beta2, t))).sqrt() + c.eps);
  }
  return p;
}

TEST(Optimizer, FollowsTheFormulasOfAdamAndAdamW) {
  for (const char* name : {"Adam", "AdamW"}) {
    torch::manual_seed(1);
    const OptimizerConfig config = {.name = name};
    at::Tensor p = at::randn({7, 5}).requires_grad_();
    const at::Tensor start = p.detach().clone();
    std::vector<at::Tensor> gradients;
    Optimizer optimizer(config, {{"p", p}});
    for (int i = 0; i < 5; ++i) {
      gradients.push_back(at::randn({7, 5}));
      p.mutable_grad() = gradients.back().clone();
      optimizer.step(1e-2);
    }
    const at::Tensor want = plain_updates(config, start, gradients, 1e-2);
    EXPECT_LE((p.detach() - want).abs().max().item<double>(), 1e-6) << name;
  }
}

TEST(Optimizer, StateRestoredInPlaceContinuesBitForBit) {
  auto run = [](int stop_after) {
    torch::manual_seed(2);
    std::vector<at::Tensor> gradients;
    for (int i = 0; i < 6; ++i) gradients.push_back(at::randn({9}));
    at::Tensor p = at::ones({9}).requires_grad_();
    auto optimizer =
        std::make_unique<Optimizer>(OptimizerConfig{}, std::vector{std::pair{std::string("p"), p}});
    for (int i = 0; i < 6; ++i) {
      if (i == stop_after) {
        const auto saved = optimizer->state();
        at::Tensor q = p.detach().clone().requires_grad_();
        optimizer = std::make_unique<Optimizer>(OptimizerConfig{},
                                                std::vector{std::pair{std::string("p"), q}});
        const auto fresh = optimizer->state();
        for (size_t s = 0; s < saved.size(); ++s)
          at::Tensor(fresh[s].second).copy_(saved[s].second);
        p = q;
      }
      p.mutable_grad() = gradients[i].clone();
      optimizer->step(1e-2);
    }
    return p.detach();
  };
  EXPECT_TRUE(at::equal(run(3), run(-1)));
}

TEST(Optimizer, ZeroGradKeepsTheMemory) {
  at::Tensor p = at::ones({3}).requires_grad_();
  p.mutable_grad() = at::ones({3});
  const void* memory = p.grad().const_data_ptr();
  Optimizer(OptimizerConfig{}, {{"p", p}}).zero_grad();
  EXPECT_EQ(p.grad().const_data_ptr(), memory);
  EXPECT_EQ(p.grad().sum().item<float>(), 0.0F);
}

TEST(Optimizer, UnknownNameAndMissingGradientAreRefused) {
  at::Tensor p = at::ones({3}).requires_grad_();
  EXPECT_THROW(Optimizer({.name = "Lion"}, {{"p", p}}), ConfigError);
  Optimizer optimizer({}, {{"p", p}});
  p.mutable_grad() = at::Tensor();
  EXPECT_THROW(optimizer.step(1e-3), Error);
}

TEST(Optimizer, AReleasedGradientThatBackwardDoesNotMakeCountsAsZero) {
  const auto updated = [](bool release) {
    at::Tensor p = at::ones({3}).requires_grad_();
    Optimizer optimizer({}, {{"p", p}});
    if (release) {
      optimizer.release_grad();
      EXPECT_FALSE(p.grad().defined());
    } else {
      optimizer.zero_grad();
    }
    optimizer.step(1e-1);
    return p.detach();
  };
  EXPECT_TRUE(at::equal(updated(true), updated(false)));
}

TEST(Optimizer, AStepThatIsNotAdmittedAndAllAfterItLeaveEverythingAsItWas) {
  for (const char* name : {"Adam", "AdamW"}) {
    at::Tensor p = at::ones({3}).requires_grad_();
    Optimizer optimizer({.name = name}, {{"p", p}});
    const auto step = [&](float gradient, bool finite) {
      p.mutable_grad() = at::full({3}, gradient);
      const bool admitted = optimizer.admit(at::scalar_tensor(finite, at::kBool)).item<bool>();
      optimizer.step(1e-2);
      return admitted;
    };
    const auto copies = [&] {
      std::vector<at::Tensor> all = {p.detach().clone()};
      for (const auto& [of, tensor] : optimizer.state()) all.push_back(tensor.clone());
      return all;
    };
    EXPECT_TRUE(step(0.5F, true));
    const std::vector<at::Tensor> before = copies();
    EXPECT_LT(before[0][0].item<float>(), 1.0F);
    EXPECT_FALSE(step(std::nanf(""), false));
    EXPECT_FALSE(step(0.5F, true));
    const std::vector<at::Tensor> after = copies();
    for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(at::equal(after[i], before[i])) << i;
  }
}

TEST(Optimizer, AdmittedStepsHaveTheBitsOfThoseNobodyAskedAbout) {
  const auto updated = [](bool asks) {
    torch::manual_seed(3);
    at::Tensor p = at::randn({50}).requires_grad_();
    Optimizer optimizer({}, {{"p", p}});
    for (int i = 0; i < 3; ++i) {
      p.mutable_grad() = at::randn({50});
      if (asks) optimizer.admit(at::scalar_tensor(true, at::kBool));
      optimizer.step(1e-2);
    }
    return at::cat({p.detach(), optimizer.state().back().second.view({1})});
  };
  EXPECT_TRUE(at::equal(updated(true), updated(false)));
}

using Parameters = std::vector<std::pair<std::string, at::Tensor>>;

/// Parameters of some sizes with random gradients; the third has none, the fourth is empty.
Parameters with_gradients(at::ScalarType dtype) {
  torch::manual_seed(4);
  Parameters parameters;
  for (const int64_t size : {70'000, 33, 5, 0, 1000}) {
    const at::Tensor parameter = at::zeros({size}, dtype);
    if (size != 5) parameter.mutable_grad() = at::randn({size}).to(dtype);
    parameters.emplace_back(std::to_string(size), parameter);
  }
  return parameters;
}

TEST(GradientNorm, IsTheNormOfAllGradientsAsOneVector) {
  at::Tensor a = at::zeros({2}).requires_grad_(), b = at::zeros({1}).requires_grad_();
  a.mutable_grad() = at::tensor({2.0F, 3.0F});
  b.mutable_grad() = at::tensor({6.0F});
  EXPECT_FLOAT_EQ(gradient_norm({{"a", a}, {"b", b}}).item<float>(), 7.0F);
}

TEST(GradientNorm, OfManyParametersIsThatOfALoopOverThem) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Parameters parameters = with_gradients(dtype);
    const std::vector<double> copies = {1, 4, 1, 2, 3};
    const at::Tensor norms = gradient_norms(parameters);
    double sum = 0;
    for (size_t i = 0; i < parameters.size(); ++i) {
      const at::Tensor& gradient = parameters[i].second.grad();
      double squares = 0;
      if (gradient.defined()) {
        const at::Tensor values = gradient.to(at::kDouble);
        for (int64_t j = 0; j < values.numel(); ++j)
          squares += values.const_data_ptr<double>()[j] * values.const_data_ptr<double>()[j];
      }
      EXPECT_NEAR(norms[static_cast<int64_t>(i)].item<double>(), std::sqrt(squares), 1e-10);
      sum += squares / copies[i];
    }
    const at::Tensor got = squared_gradient_norm(norms, at::tensor(copies, at::kDouble));
    EXPECT_NEAR(got.item<double>(), sum, 1e-12 * sum);
  }
  EXPECT_EQ(squared_gradient_norm(gradient_norms({}), at::zeros({0})).item<double>(), 0);
  EXPECT_THROW(squared_gradient_norm(at::zeros({2}), at::ones({1})), Error);
}

TEST(GradientNorm, SaysWhichGradientIsNotFinite) {
  Parameters parameters = with_gradients(at::kFloat);
  parameters[1].second.grad()[7] = std::nanf("");
  parameters[4].second.grad()[0] = INFINITY;
  EXPECT_TRUE(at::equal(at::isfinite(gradient_norms(parameters)),
                        at::tensor({1, 0, 1, 1, 0}, at::kInt).to(at::kBool)));
}

TEST(GradientNorm, ClippingBringsTheNormToTheLimitAndLeavesSmallOnesAlone) {
  at::Tensor a = at::zeros({2}).requires_grad_();
  a.mutable_grad() = at::tensor({3.0F, 4.0F});
  const at::Tensor norm = at::scalar_tensor(5.0);
  clip_gradients({{"a", a}}, 10.0, norm);
  EXPECT_FLOAT_EQ(a.grad()[0].item<float>(), 3.0F);
  clip_gradients({{"a", a}}, 1.0, norm);
  EXPECT_NEAR(gradient_norm({{"a", a}}).item<float>(), 1.0, 1e-5);
}

TEST(GradientNorm, ClippingMultipliesByANumberOfFloat32) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    for (const double norm : {0.999, 1.1, 7.3, 12345.678}) {
      const Parameters got = with_gradients(dtype), want = with_gradients(dtype);
      clip_gradients(got, 1.5, at::scalar_tensor(norm, at::kDouble));
      const float coefficient =
          std::min(1.0F, 1.5F / (static_cast<float>(norm) + static_cast<float>(1e-6)));
      for (size_t i = 0; i < want.size(); ++i) {
        if (!want[i].second.grad().defined()) continue;
        // Rounded once: the coefficient itself is not rounded to narrower gradients' dtype.
        const at::Tensor gradient = (want[i].second.grad().to(at::kFloat) * coefficient).to(dtype);
        EXPECT_TRUE(at::equal(got[i].second.grad(), gradient))
            << c10::toString(dtype) << " " << norm << " " << i << " "
            << (got[i].second.grad() - gradient).abs().max().item<double>();
      }
    }
}

TEST(GradientNorm, ClippingToANormThatIsNotFiniteKeepsGradients) {
  for (const double norm : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    at::Tensor a = at::zeros({2}).requires_grad_();
    a.mutable_grad() = at::tensor({3.0F, 4.0F});
    clip_gradients({{"a", a}}, 1.0, at::scalar_tensor(norm));
    EXPECT_TRUE(at::equal(a.grad(), at::tensor({3.0F, 4.0F})));
  }
}

}  // namespace
}  // namespace coeus
