#include "coeus/ops/grouped_linear.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <functional>

#include "coeus/base/error.h"

namespace coeus {
namespace {

std::vector<at::Tensor> run(
    const at::Tensor& start, const at::Tensor& weights, const at::Tensor& grad,
    const std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>& f) {
  at::Tensor x = start.clone().requires_grad_(), w = weights.clone().requires_grad_();
  const at::Tensor y = f(x, w);
  (y * grad).sum().backward();
  return {y.detach(), x.grad(), w.grad()};
}

void expect_agreement(at::ScalarType dtype, bool use_grouped_mm, double tolerance) {
  torch::manual_seed(1);
  for (const std::vector<int>& ends : std::vector<std::vector<int>>{
           {40}, {0, 40}, {7, 7, 30, 40}, {40, 40, 40}, {1, 2, 39, 40, 40}}) {
    const auto groups = static_cast<int64_t>(ends.size());
    const at::Tensor x = at::randn({40, 16}).to(dtype), w = at::randn({groups, 24, 16}).to(dtype);
    const at::Tensor grad = at::randn({40, 24}).to(dtype), at_ends = at::tensor(ends, at::kInt);
    const auto got = run(x, w, grad, [&](const at::Tensor& a, const at::Tensor& b) {
      return grouped_linear(a, b, at_ends, use_grouped_mm);
    });
    const auto want = run(x, w, grad, [&](const at::Tensor& a, const at::Tensor& b) {
      return grouped_linear_reference(a, b, at_ends);
    });
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(got[i].scalar_type(), dtype);
      EXPECT_TRUE(at::allclose(got[i], want[i], tolerance, tolerance)) << groups << ": " << i;
    }
  }
}

TEST(GroupedLinear, AgreesWithTheReferenceInFloat) { expect_agreement(at::kFloat, true, 1e-4); }
TEST(GroupedLinear, AgreesWithTheReferenceInBfloatGroupByGroup) {
  expect_agreement(at::kBFloat16, false, 2e-2);
}
TEST(GroupedLinear, AgreesWithTheReferenceInBfloatByGroupedMm) {
  expect_agreement(at::kBFloat16, true, 2e-2);
}

TEST(GroupedLinear, ByTilesItIsTheSame) {
  torch::manual_seed(1);
  for (const int64_t tile_rows : {1, 4, 64}) {
    const at::Tensor x = at::randn({40, 6}), w = at::randn({5, 3, 6}), grad = at::randn({40, 3});
    const at::Tensor ends = at::tensor({0, 9, 9, 32, 40}, at::kInt);
    const auto got = run(x, w, grad, [&](const at::Tensor& a, const at::Tensor& b) {
      return grouped_linear_by_tiles(a, b, ends, tile_rows);
    });
    const auto want = run(x, w, grad, [&](const at::Tensor& a, const at::Tensor& b) {
      return grouped_linear_reference(a, b, ends);
    });
    for (size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(at::allclose(got[i], want[i], 1e-4, 1e-5));
  }
}

TEST(GroupedLinear, NoRowsAtAllGiveNone) {
  const at::Tensor out =
      grouped_linear(at::ones({0, 4}), at::ones({2, 3, 4}), at::zeros({2}, at::kInt));
  EXPECT_EQ(out.sizes(), (std::vector<int64_t>{0, 3}));
}

TEST(GroupedLinear, SizesThatDoNotFitAreRefused) {
  const at::Tensor x = at::ones({4, 3}), w = at::ones({2, 5, 3});
  EXPECT_THROW(grouped_linear(x, at::ones({2, 5, 4}), at::zeros({2}, at::kInt)), Error);
  EXPECT_THROW(grouped_linear(x, w, at::zeros({3}, at::kInt)), Error);
  EXPECT_THROW(grouped_linear(x, w, at::zeros({2}, at::kLong)), Error);
}

}  // namespace
}  // namespace coeus
