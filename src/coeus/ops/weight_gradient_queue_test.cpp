#include "coeus/ops/weight_gradient_queue.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include "coeus/ops/grouped_linear.h"
#include "coeus/ops/linear.h"
#include "coeus/ops/test_autocast.h"

namespace coeus {
namespace {

struct Gradients {
  at::Tensor x;
  at::Tensor weight;
};

using Operation = std::function<at::Tensor(const at::Tensor& x, const at::Tensor& weight)>;

/// Two micro-batches' gradients; undivided without a queue.
Gradients gradients_of(const Operation& operation, const at::Tensor& x_in,
                       const at::Tensor& weight_in, bool autocast, bool divided) {
  const at::Tensor x = x_in.clone().requires_grad_();
  const at::Tensor weight = weight_in.clone().requires_grad_();
  for (int micro_batch = 0; micro_batch < 2; ++micro_batch) {
    const auto queue = divided ? c10::make_intrusive<WeightGradientQueue>()
                               : c10::intrusive_ptr<WeightGradientQueue>();
    at::Tensor out;
    {
      const WeightGradientQueue::Scope scope(queue);
      const TestAutocast precision(autocast);
      out = operation(x * (micro_batch + 1), weight);
    }
    const at::Tensor before = weight.grad().defined() ? weight.grad().clone() : at::Tensor();
    if (divided) queue->set_deferring(true);
    (out.to(at::kFloat).sin() * 3).sum().backward();
    if (!divided) continue;
    EXPECT_EQ(queue->size(), 1U);
    EXPECT_TRUE(before.defined() ? weight.grad().equal(before) : !weight.grad().defined());
    queue->compute();
    EXPECT_EQ(queue->size(), 0U);
  }
  return {x.grad(), weight.grad()};
}

void expect_divided_is_undivided(const Operation& operation, const at::Tensor& x,
                                 const at::Tensor& weight, bool autocast) {
  const Gradients whole = gradients_of(operation, x, weight, autocast, /*divided=*/false);
  const Gradients parts = gradients_of(operation, x, weight, autocast, /*divided=*/true);
  EXPECT_TRUE(parts.x.equal(whole.x));
  EXPECT_TRUE(parts.weight.equal(whole.weight))
      << (parts.weight - whole.weight).abs().max().item<double>();
  EXPECT_EQ(parts.weight.scalar_type(), weight.scalar_type());
}

TEST(WeightGradientQueue, LinearInTwoPartsIsBitForBitTheSame) {
  at::manual_seed(1);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    for (const bool autocast : {false, true}) {
      if (autocast && dtype != at::kFloat) continue;
      for (const int64_t rows : {1, 7, 64}) {
        SCOPED_TRACE(fmt::format("{} autocast {} rows {}", c10::toString(dtype), autocast, rows));
        expect_divided_is_undivided(
            [](const at::Tensor& x, const at::Tensor& w) { return coeus::linear(x, w); },
            at::randn({3, rows, 24}).to(dtype), at::randn({40, 24}).to(dtype), autocast);
      }
    }
  }
}

TEST(WeightGradientQueue, GroupedLinearInTwoPartsIsBitForBitTheSame) {
  at::manual_seed(2);
  const at::Tensor ends = at::tensor({5, 5, 12, 40}, at::kInt);
  for (const bool grouped_mm : {false, true}) {
    for (const bool autocast : {false, true}) {
      SCOPED_TRACE(fmt::format("grouped_mm {} autocast {}", grouped_mm, autocast));
      expect_divided_is_undivided(
          [&](const at::Tensor& x, const at::Tensor& w) {
            return grouped_linear(x, w, ends, grouped_mm);
          },
          at::randn({40, 16}), at::randn({4, 24, 16}), autocast);
    }
  }
}

TEST(WeightGradientQueue, WithoutDeferringBackwardIsWhole) {
  const at::Tensor x = at::randn({4, 8});
  const at::Tensor weight = at::randn({6, 8}).requires_grad_();
  const auto queue = c10::make_intrusive<WeightGradientQueue>();
  const WeightGradientQueue::Scope scope(queue);
  coeus::linear(x, weight).sum().backward();
  EXPECT_EQ(queue->size(), 0U);
  EXPECT_TRUE(weight.grad().defined());
}

TEST(WeightGradientQueue, AWeightThatIsNoLeafGetsItsGradientAtOnce) {
  const at::Tensor leaf = at::randn({6, 8}).requires_grad_();
  const auto queue = c10::make_intrusive<WeightGradientQueue>();
  const WeightGradientQueue::Scope scope(queue);
  queue->set_deferring(true);
  coeus::linear(at::randn({4, 8}), leaf * 2).sum().backward();
  EXPECT_EQ(queue->size(), 0U);
  EXPECT_TRUE(leaf.grad().defined());
}

TEST(WeightGradientQueue, GradientsOfSeveralUsesAddUp) {
  const at::Tensor x = at::ones({1, 2});
  const at::Tensor weight = at::ones({2, 2}).requires_grad_();
  const auto queue = c10::make_intrusive<WeightGradientQueue>();
  {
    const WeightGradientQueue::Scope scope(queue);
    queue->set_deferring(true);
    (coeus::linear(x, weight).sum() + coeus::linear(2 * x, weight).sum()).backward();
  }
  queue->compute();
  EXPECT_TRUE(weight.grad().equal(at::full({2, 2}, 3.0)));
}

}  // namespace
}  // namespace coeus
