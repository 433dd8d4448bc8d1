#include "coeus/nn/recompute.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/base/error.h"
#include "coeus/ops/linear.h"
#include "coeus/ops/weight_gradient_queue.h"

namespace coeus::nn {
namespace {

TEST(Recompute, GivesTheSameBitsForInputsAndParameters) {
  torch::manual_seed(1);
  const at::Tensor start = at::randn({4, 8});
  const at::Tensor weights = at::randn({8, 8});
  auto run = [&](bool again) {
    at::Tensor x = start.clone().requires_grad_(), w = weights.clone().requires_grad_();
    auto f = [&](const at::Tensor& h) { return at::tanh(at::matmul(h, w)) * h; };
    const at::Tensor out = again ? recompute(f, x) : f(x);
    out.square().sum().backward();
    return std::vector<at::Tensor>{out.detach(), x.grad(), w.grad()};
  };
  const auto kept = run(false), recomputed = run(true);
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_TRUE(at::equal(kept[i], recomputed[i])) << i;
}

TEST(Recompute, RunsTheFunctionAgainInBackwardOnly) {
  int runs = 0;
  at::Tensor x = at::ones({2}).requires_grad_();
  const at::Tensor out = recompute(
      [&](const at::Tensor& h) {
        ++runs;
        return h * 2;
      },
      x);
  EXPECT_EQ(runs, 1);
  out.sum().backward();
  EXPECT_EQ(runs, 2);
}

TEST(Recompute, WithoutGradientsItIsThePlainFunction) {
  at::NoGradGuard no_grad;
  const at::Tensor out = recompute([](const at::Tensor& h) { return h + 1; }, at::ones({2}));
  EXPECT_FALSE(out.requires_grad());
}

TEST(Recompute, AnInputWithoutGradientIsRefused) {
  EXPECT_THROW(recompute([](const at::Tensor& h) { return h; }, at::ones({2})), Error);
}

TEST(Recompute, LeavesWeightGradientsToTheQueueOfItsForwardPass) {
  torch::manual_seed(2);
  const at::Tensor start = at::randn({4, 8}), weights = at::randn({8, 8});
  const auto gradient = [&](const c10::intrusive_ptr<WeightGradientQueue>& queue,
                            bool by_operation) {
    const at::Tensor x = start.clone().requires_grad_(), w = weights.clone().requires_grad_();
    const auto f = [&](const at::Tensor& h) { return at::tanh(coeus::linear(h, w)); };
    at::Tensor out;
    {
      const WeightGradientQueue::Scope scope(queue);
      out = by_operation ? recompute_by_operation(f, x, KeptResults()) : recompute(f, x);
    }
    if (queue != nullptr) queue->set_deferring(true);
    out.square().sum().backward();
    EXPECT_EQ(w.grad().defined(), queue == nullptr);
    if (queue != nullptr) {
      EXPECT_EQ(queue->size(), 1U);
      queue->compute();
    }
    return w.grad();
  };
  for (const bool by_operation : {false, true})
    EXPECT_TRUE(at::equal(gradient(c10::make_intrusive<WeightGradientQueue>(), by_operation),
                          gradient({}, by_operation)));
}

}  // namespace
}  // namespace coeus::nn
