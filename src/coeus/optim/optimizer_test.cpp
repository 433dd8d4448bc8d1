#include "coeus/optim/optimizer.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

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

TEST(GradientNorm, IsTheNormOfAllGradientsAsOneVector) {
  at::Tensor a = at::zeros({2}).requires_grad_(), b = at::zeros({1}).requires_grad_();
  a.mutable_grad() = at::tensor({2.0F, 3.0F});
  b.mutable_grad() = at::tensor({6.0F});
  EXPECT_FLOAT_EQ(gradient_norm({{"a", a}, {"b", b}}).item<float>(), 7.0F);
}

TEST(GradientNorm, ClippingBringsTheNormToTheLimitAndLeavesSmallOnesAlone) {
  at::Tensor a = at::zeros({2}).requires_grad_();
  a.mutable_grad() = at::tensor({3.0F, 4.0F});
  clip_gradients({{"a", a}}, 10.0, 5.0);
  EXPECT_FLOAT_EQ(a.grad()[0].item<float>(), 3.0F);
  clip_gradients({{"a", a}}, 1.0, 5.0);
  EXPECT_NEAR(gradient_norm({{"a", a}}).item<float>(), 1.0, 1e-5);
}

}  // namespace
}  // namespace coeus
