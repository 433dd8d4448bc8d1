#include "coeus/ops/linear_cross_entropy.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <vector>

#include "coeus/base/error.h"
#include "coeus/ops/linear.h"
#include "coeus/ops/test_autocast.h"
#include "coeus/ops/test_device.h"

namespace coeus {
namespace {

constexpr int64_t kDim = 16;
constexpr int64_t kVocab = 37;

/// Hidden states [3, 41, kDim], a weight, and labels of which some are ignored.
struct Problem {
  explicit Problem(at::ScalarType dtype = at::kFloat) {
    torch::manual_seed(1);
    hidden = at::randn({3, 41, kDim}).to(test_device(), dtype).requires_grad_();
    weight = at::randn({kVocab, kDim}).to(test_device(), dtype).requires_grad_();
    labels = at::randint(0, kVocab, {3, 41}, at::kLong);
    labels.select(0, 1).slice(0, 7).fill_(kIgnoredLabel);
    labels = labels.to(test_device());
  }
  at::Tensor hidden, weight, labels;
};

struct Result {
  at::Tensor loss, grad_hidden, grad_weight;
};

/// In double, whatever `f` computed in.
template <class F>
Result run(Problem problem, const F& f) {
  const at::Tensor loss = f(problem.hidden, problem.weight, problem.labels);
  // A scale that bfloat16 would round.
  (loss / 82.3).backward();
  return {loss.detach().to(at::kDouble), problem.hidden.grad().to(at::kDouble),
          problem.weight.grad().to(at::kDouble)};
}

auto by_chunks_of(int64_t chunk_size) {
  return
      [chunk_size](const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels) {
        return linear_cross_entropy_sum(hidden, weight, labels, chunk_size);
      };
}

double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

/// The chunks are whole, with a short last one, all rows, more than there are, and single rows.
const std::vector<int64_t> kChunkSizes = {41, 10, 123, 1000, 1};

TEST(LinearCrossEntropy, AgreesWithTheReferenceForwardAndBackward) {
  // A GPU's exponential is good to 2 units in the last place.
  const double of_float = test_device().is_cpu() ? 1e-6 : 2e-6;
  const std::vector<std::pair<at::ScalarType, double>> tolerances = {
      {at::kDouble, 1e-13}, {at::kFloat, of_float}, {at::kBFloat16, 1e-2}};
  for (const auto& [dtype, tolerance] : tolerances) {
    const Problem problem(dtype);
    // Of the same numbers, which double holds exactly.
    Problem exact = problem;
    exact.hidden = problem.hidden.detach().to(at::kDouble).requires_grad_();
    exact.weight = problem.weight.detach().to(at::kDouble).requires_grad_();
    const Result want = run(exact, linear_cross_entropy_sum_reference);
    for (const int64_t chunk_size : kChunkSizes) {
      SCOPED_TRACE(fmt::format("{}, chunks of {}", c10::toString(dtype), chunk_size));
      Problem mine = problem;
      mine.hidden = problem.hidden.detach().requires_grad_();
      mine.weight = problem.weight.detach().requires_grad_();
      const Result got = run(mine, by_chunks_of(chunk_size));
      EXPECT_EQ(mine.weight.grad().scalar_type(), dtype);
      EXPECT_LE(largest(got.loss - want.loss), tolerance * want.loss.item<double>());
      EXPECT_LE(largest(got.grad_hidden - want.grad_hidden), tolerance * largest(want.grad_hidden));
      EXPECT_LE(largest(got.grad_weight - want.grad_weight), tolerance * largest(want.grad_weight));
    }
  }
}

TEST(LinearCrossEntropy, UnderAutocastChunksCostNoExactness) {
  // Root mean squares of the errors of gradients, relative to the gradients'.
  const auto errors = [](const Result& got, const Result& want) {
    const auto error = [](const at::Tensor& a, const at::Tensor& b) {
      return ((a - b).norm() / b.norm()).item<double>();
    };
    return std::vector<double>{error(got.grad_hidden, want.grad_hidden),
                               error(got.grad_weight, want.grad_weight)};
  };
  Problem rounded;
  for (at::Tensor* factor : {&rounded.hidden, &rounded.weight})
    *factor = factor->detach().to(at::kBFloat16).to(at::kDouble).requires_grad_();
  const Result want = run(rounded, linear_cross_entropy_sum_reference);
  const auto under_autocast = [](const auto& f) {
    return run(Problem(), [&](const auto&... arguments) {
      const TestAutocast autocast;
      return f(arguments...);
    });
  };
  const Result at_once = under_autocast(
      [](const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels) {
        return cross_entropy_sum(coeus::linear(hidden, weight), labels);
      });
  const std::vector<double> allowed = errors(at_once, want);
  for (const int64_t chunk_size : kChunkSizes) {
    const Result got = under_autocast(by_chunks_of(chunk_size));
    EXPECT_LE(largest(got.loss - at_once.loss), 1e-5 * at_once.loss.item<double>());
    const std::vector<double> made = errors(got, want);
    for (size_t i = 0; i < made.size(); ++i)
      EXPECT_LE(made[i], 1.05 * allowed[i]) << "gradient " << i << ", chunks of " << chunk_size;
  }
}

TEST(LinearCrossEntropy, GradientsAreThoseOfFiniteDifferences) {
  const Problem problem(at::kDouble);
  const Result got = run(problem, by_chunks_of(50));
  const at::NoGradGuard no_grad;
  constexpr double kStep = 1e-5;
  const auto difference = [&](const at::Tensor& value) {
    const auto loss_at = [&](double step) {
      value.add_(step);
      const at::Tensor loss =
          linear_cross_entropy_sum(problem.hidden, problem.weight, problem.labels, 50);
      value.sub_(step);
      return loss.item<double>() / 82.3;
    };
    return (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
  };
  for (int64_t i = 0; i < kDim; ++i) {
    EXPECT_NEAR(got.grad_hidden[2][i + 3][i].item<double>(),
                difference(problem.hidden[2][i + 3][i]), 1e-8);
    EXPECT_NEAR(got.grad_weight[2 * i][i].item<double>(), difference(problem.weight[2 * i][i]),
                1e-8);
  }
}

TEST(LinearCrossEntropy, NoMoreThanAChunkOfLogitsIsMade) {
  const Problem problem;
  std::vector<int64_t> chunks;
  const CrossEntropy noting = [&](const at::Tensor& logits, const at::Tensor& labels) {
    EXPECT_EQ(logits.sizes(), (std::vector<int64_t>{labels.size(0), kVocab}));
    chunks.push_back(labels.size(0));
    return 2 * cross_entropy_sum(logits, labels);
  };
  const at::Tensor twice =
      linear_cross_entropy_sum(problem.hidden, problem.weight, problem.labels, 50, noting);
  EXPECT_EQ(chunks, (std::vector<int64_t>{50, 50, 23}));
  const Result once = run(problem, by_chunks_of(50));
  EXPECT_NEAR(twice.item<double>(), 2 * once.loss.item<double>(), 1e-4);
  problem.weight.mutable_grad().reset();
  (twice / 82.3).backward();
  EXPECT_TRUE(at::allclose(problem.weight.grad().to(at::kDouble), 2 * once.grad_weight));
}

TEST(LinearCrossEntropy, IgnoredLabelsAndNoRowsCountForNothing) {
  Problem ignored;
  ignored.labels.fill_(kIgnoredLabel);
  Problem empty;
  empty.hidden = at::empty({0, kDim}, empty.hidden.options()).requires_grad_();
  empty.labels = at::empty({0}, empty.labels.options());
  for (const Problem& problem : {ignored, empty}) {
    const Result result = run(problem, by_chunks_of(10));
    EXPECT_EQ(result.loss.item<double>(), 0);
    EXPECT_EQ(result.grad_hidden.abs().sum().item<double>(), 0);
    EXPECT_EQ(largest(result.grad_weight), 0);
  }
}

TEST(LinearCrossEntropy, FrozenFactorsAndLossesAloneWantNoGradient) {
  Problem problem;
  const Result all = run(problem, by_chunks_of(10));
  const auto loss_of = by_chunks_of(10);
  for (const bool freezes_weight : {true, false}) {
    Problem frozen;
    (freezes_weight ? frozen.weight : frozen.hidden).requires_grad_(false);
    (loss_of(frozen.hidden, frozen.weight, frozen.labels) / 82.3).backward();
    EXPECT_EQ(frozen.weight.grad().defined(), !freezes_weight);
    EXPECT_EQ(frozen.hidden.grad().defined(), freezes_weight);
    const at::Tensor& got = freezes_weight ? frozen.hidden.grad() : frozen.weight.grad();
    EXPECT_TRUE(at::equal(got.to(at::kDouble), freezes_weight ? all.grad_hidden : all.grad_weight));
  }
  const at::NoGradGuard no_grad;
  const at::Tensor loss = loss_of(problem.hidden, problem.weight, problem.labels);
  EXPECT_FALSE(loss.requires_grad());
  EXPECT_EQ(loss.item<double>(), all.loss.item<double>());
}

TEST(LinearCrossEntropy, ASecondBackwardPassIsRefused) {
  const Problem problem;
  const at::Tensor loss =
      linear_cross_entropy_sum(problem.hidden, problem.weight, problem.labels, 50);
  loss.backward({}, /*retain_graph=*/true);
  EXPECT_THROW(loss.backward(), c10::Error);
}

TEST(LinearCrossEntropy, WhatDoesNotFitIsRefused) {
  const Problem problem;
  const auto& [hidden, weight, labels] = problem;
  EXPECT_THROW(linear_cross_entropy_sum(hidden, weight, labels, 0), Error);
  EXPECT_THROW(linear_cross_entropy_sum(hidden, weight, labels[0], 10), Error);
  EXPECT_THROW(linear_cross_entropy_sum(hidden, weight.t(), labels, 10), Error);
  if (!test_device().is_cpu()) return;
  EXPECT_THROW(linear_cross_entropy_sum(hidden, weight, at::full_like(labels, kVocab), 10),
               DataError);
}

}  // namespace
}  // namespace coeus
