#include "coeus/nn/moe/token_order.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/base/error.h"

namespace coeus::nn {
namespace {

TEST(TokenOrder, SortsPairsByExpertAndKeepsTheirOrder) {
  const at::Tensor experts = at::tensor({2, 0, 0, 2, 2, 3}, at::kLong).view({3, 2});
  const TokenOrder order = order_by_expert(experts, 5);
  EXPECT_TRUE(at::equal(order.pairs, at::tensor({1, 2, 0, 3, 4, 5}, at::kLong)));
  EXPECT_TRUE(at::equal(order.places, at::tensor({2, 0, 1, 3, 4, 5}, at::kLong)));
  EXPECT_TRUE(at::equal(order.expert_ends, at::tensor({2, 2, 5, 6, 6}, at::kInt)));
  EXPECT_TRUE(at::equal(tokens_per_expert(order), at::tensor({2, 0, 3, 1, 0}, at::kLong)));
}

TEST(TokenOrder, CountingAndSortingAgree) {
  torch::manual_seed(1);
  for (const int64_t num_experts : {1, 3, 64})
    for (const int64_t tokens : {1, 17, 300})
      for (const int64_t top_k : {1, 4}) {
        const at::Tensor experts = at::randint(num_experts, {tokens, top_k}, at::kLong);
        const TokenOrder got = order_by_expert(experts, num_experts);
        const TokenOrder want = order_by_expert_reference(experts, num_experts);
        EXPECT_TRUE(at::equal(got.pairs, want.pairs));
        EXPECT_TRUE(at::equal(got.places, want.places));
        EXPECT_TRUE(at::equal(got.expert_ends, want.expert_ends));
        EXPECT_EQ(got.expert_ends.scalar_type(), want.expert_ends.scalar_type());
      }
}

TEST(TokenOrder, ThereAndBackAreGatherAndScatterAdd) {
  torch::manual_seed(1);
  const int64_t tokens = 20, top_k = 3, dim = 5;
  const at::Tensor experts = at::randint(6, {tokens, top_k}, at::kLong);
  const TokenOrder order = order_by_expert(experts, 6);
  const at::Tensor index =
      order.pairs.floor_divide(top_k).unsqueeze(1).expand({tokens * top_k, dim});
  const at::Tensor start = at::randn({tokens, dim}), start_y = at::randn({tokens * top_k, dim});

  at::Tensor x = start.clone().requires_grad_(), x2 = start.clone().requires_grad_();
  const at::Tensor there = to_expert_order(x, order), there2 = at::gather(x2, 0, index);
  EXPECT_TRUE(at::equal(there, there2));
  (there * start_y).sum().backward();
  (there2 * start_y).sum().backward();
  EXPECT_TRUE(at::allclose(x.grad(), x2.grad()));

  at::Tensor y = start_y.clone().requires_grad_(), y2 = start_y.clone().requires_grad_();
  const at::Tensor back = from_expert_order(y, order);
  const at::Tensor back2 = at::zeros({tokens, dim}).scatter_add(0, index, y2);
  EXPECT_TRUE(at::allclose(back, back2));
  (back * start).sum().backward();
  (back2 * start).sum().backward();
  EXPECT_TRUE(at::equal(y.grad(), y2.grad()));
}

TEST(TokenOrder, WrongExpertsAreRefused) {
  EXPECT_THROW(order_by_expert(at::zeros({4}, at::kLong), 2), Error);
  EXPECT_THROW(order_by_expert(at::zeros({4, 1}, at::kInt), 2), Error);
}

}  // namespace
}  // namespace coeus::nn
