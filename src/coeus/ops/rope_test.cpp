#include "coeus/ops/rope.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/base/error.h"

namespace coeus {
namespace {

at::Tensor table(int64_t positions, int64_t head_dim) {
  const at::Tensor angles =
      at::outer(at::arange(positions).to(at::kFloat),
                at::pow(10000.0, -at::arange(0, head_dim, 2).to(at::kFloat) / head_dim));
  return at::stack({at::cos(angles), at::sin(angles)}, -1);
}

TEST(Rope, AgreesWithTheReferenceForwardAndBackward) {
  torch::manual_seed(1);
  const at::Tensor angles = table(64, 24);
  const at::Tensor positions = at::randint(0, 64, {2, 19}, at::kInt);
  for (const RopePairs pairs : {RopePairs::kInterleaved, RopePairs::kHalves}) {
    for (auto dtype : {at::kFloat, at::kBFloat16}) {
      const at::Tensor x = at::randn({2, 19, 3, 24}).to(dtype);
      const at::Tensor weight = at::randn({2, 19, 3, 24}).to(dtype);
      auto run = [&](auto f) {
        at::Tensor in = x.detach().requires_grad_();
        const at::Tensor out = f(in, angles, positions, pairs);
        (out * weight).sum().backward();
        return std::pair{out.detach(), in.grad()};
      };
      const auto got = run(rope), want = run(rope_reference);
      const double tolerance = dtype == at::kFloat ? 1e-5 : 2e-2;
      EXPECT_TRUE(at::allclose(got.first, want.first, tolerance, tolerance));
      EXPECT_TRUE(at::allclose(got.second, want.second, tolerance, tolerance));
    }
  }
}

TEST(Rope, PairsAreNeighboursOrTheSamePlacesOfTheTwoHalves) {
  // A quarter turn: (1, 0) becomes (0, 1).
  const at::Tensor quarter = at::tensor({0.0F, 1.0F}).expand({1, 2, 2}).contiguous();
  const at::Tensor position = at::zeros({1, 1}, at::kInt);
  const at::Tensor x = at::tensor({1.0F, 2.0F, 3.0F, 4.0F}).view({1, 1, 1, 4});
  EXPECT_TRUE(
      at::equal(rope(x, quarter, position).flatten(), at::tensor({-2.0F, 1.0F, -4.0F, 3.0F})));
  EXPECT_TRUE(at::equal(rope(x, quarter, position, RopePairs::kHalves).flatten(),
                        at::tensor({-3.0F, -4.0F, 1.0F, 2.0F})));
}

TEST(Rope, PositionsTravelWithTokens) {
  const at::Tensor angles = table(32, 8);
  const at::Tensor x = at::randn({1, 32, 2, 8});
  const at::Tensor positions = at::arange(32, at::kInt).unsqueeze(0);
  const at::Tensor order = at::randperm(32);
  const at::Tensor whole = rope(x, angles, positions);
  const at::Tensor shuffled =
      rope(x.index_select(1, order), angles, positions.index_select(1, order));
  EXPECT_TRUE(at::equal(shuffled, whole.index_select(1, order)));
}

TEST(Rope, ScoresDependOnTheDistanceOfPositionsOnly) {
  const at::Tensor angles = table(100, 16);
  const at::Tensor q = at::randn({1, 1, 1, 16}), k = at::randn({1, 1, 1, 16});
  auto score = [&](int p, int r) {
    const auto at_position = [](int p) { return at::full({1, 1}, p, at::kInt); };
    return (rope(q, angles, at_position(p)) * rope(k, angles, at_position(r))).sum().item<float>();
  };
  EXPECT_NEAR(score(7, 3), score(94, 90), 1e-4);
}

TEST(Rope, PositionOutsideTheTableIsRefused) {
  const at::Tensor x = at::randn({1, 2, 1, 8});
  EXPECT_THROW(rope(x, table(4, 8), at::tensor({0, 4}, at::kInt).unsqueeze(0)), Error);
  EXPECT_THROW(rope(x, table(4, 8), at::tensor({-1, 0}, at::kInt).unsqueeze(0)), Error);
}

TEST(Rope, PositionsMayBePartOfMore) {
  const at::Tensor angles = table(32, 8);
  const at::Tensor x = at::randn({2, 5, 1, 8});
  // In memory, positions that lie outside of the table stand between the two rows.
  const at::Tensor all =
      at::cat({at::arange(5, at::kInt), at::full({27}, 99, at::kInt)}).repeat({2, 1});
  const at::Tensor part = all.slice(1, 0, 5);
  EXPECT_TRUE(at::equal(rope(x, angles, part), rope(x, angles, part.contiguous())));
}

TEST(Rope, WrongShapesAreRefused) {
  const at::Tensor positions = at::zeros({1, 2}, at::kInt);
  EXPECT_THROW(rope(at::randn({1, 2, 1, 7}), table(4, 8), positions), Error);
  EXPECT_THROW(rope(at::randn({1, 2, 1, 8}), table(4, 6), positions), Error);
  EXPECT_THROW(rope(at::randn({1, 3, 1, 8}), table(4, 8), positions), Error);
}

TEST(Rope, ATableOnAnotherDeviceIsRefused) {
  const at::Tensor positions = at::zeros({1, 2}, at::kInt);
  EXPECT_THROW(rope(at::randn({1, 2, 1, 8}), table(4, 8).to(at::kMeta), positions), Error);
}

}  // namespace
}  // namespace coeus
