#include "coeus/nn/moe/router.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <numeric>

#include "coeus/base/error.h"

namespace coeus::nn {
namespace {

Router router_of(const MoEOptions& moe, int64_t dim = 6) {
  torch::manual_seed(3);
  Router router(dim, moe, at::TensorOptions());
  at::NoGradGuard no_grad;
  router->gate->weight.normal_();
  return router;
}

std::vector<int64_t> row_of(const at::Tensor& experts, int64_t token) {
  const at::Tensor row = experts[token].contiguous();
  return {row.const_data_ptr<int64_t>(), row.const_data_ptr<int64_t>() + row.numel()};
}

TEST(Router, PicksTheHighestScores) {
  for (const ScoreFunction function : {ScoreFunction::kSigmoid, ScoreFunction::kSoftmax}) {
    Router router = router_of({.num_experts = 5, .score_func = function, .top_k = 2});
    const at::Tensor x = at::randn({9, 6});
    const Routing routing = router(x, at::Tensor());
    const at::Tensor logits = at::linear(x, router->gate->weight);
    const at::Tensor all =
        function == ScoreFunction::kSigmoid ? logits.sigmoid() : logits.softmax(1);
    const auto [scores, experts] = all.sort(1, /*descending=*/true);
    EXPECT_TRUE(at::equal(routing.experts, experts.slice(1, 0, 2)));
    EXPECT_TRUE(at::allclose(routing.scores, scores.slice(1, 0, 2)));
    EXPECT_TRUE(at::allclose(routing.affinity, all));
  }
}

TEST(Router, ABiasPicksExpertsAndLeavesScoresAlone) {
  Router router = router_of({.num_experts = 4});
  const at::Tensor x = at::randn({7, 6});
  const Routing plain = router(x, at::zeros({4}));
  const Routing biased = router(x, at::tensor({0.F, 0.F, 5.F, 0.F}));
  EXPECT_TRUE(at::equal(biased.experts, at::full({7, 1}, 2, at::kLong)));
  EXPECT_TRUE(at::equal(biased.scores, plain.affinity.slice(1, 2, 3)));
}

TEST(Router, NormMakesATokensScoresSumToTheScale) {
  Router router = router_of({.num_experts = 8, .top_k = 3, .route_norm = true, .route_scale = 2.5});
  const Routing routing = router(at::randn({11, 6}), at::Tensor());
  EXPECT_TRUE(at::allclose(routing.scores.sum(1), at::full({11}, 2.5)));
}

TEST(Router, ForcedBalanceDealsTokensInTurn) {
  Router router = router_of({.num_experts = 3, .top_k = 2, .force_load_balance = true});
  const Routing routing = router(at::randn({4, 6}), at::Tensor());
  EXPECT_TRUE(
      at::equal(routing.experts.flatten(), at::tensor({0, 1, 2, 0, 1, 2, 0, 1}, at::kLong)));
  EXPECT_TRUE(at::equal(routing.scores, routing.affinity.gather(1, routing.experts)));
}

/// DeepSeek-V3, 2.1.2, read plainly: for one token, the groups by the sum of their best scores,
/// then the best experts of the best groups.
std::vector<int64_t> group_limited_choice(const std::vector<float>& score, const MoEOptions& moe) {
  const int64_t size = moe.num_experts / moe.n_expert_groups;
  const int64_t summed = std::max<int64_t>(1, moe.top_k / moe.n_limited_groups);
  std::vector<std::pair<float, int64_t>> groups;
  for (int64_t g = 0; g < moe.n_expert_groups; ++g) {
    std::vector<float> of_group(score.begin() + g * size, score.begin() + (g + 1) * size);
    std::sort(of_group.rbegin(), of_group.rend());
    groups.emplace_back(std::accumulate(of_group.begin(), of_group.begin() + summed, 0.F), g);
  }
  std::sort(groups.rbegin(), groups.rend());
  std::vector<std::pair<float, int64_t>> experts;
  for (int64_t i = 0; i < moe.n_limited_groups; ++i)
    for (int64_t e = groups[i].second * size; e < (groups[i].second + 1) * size; ++e)
      experts.emplace_back(score[e], e);
  std::sort(experts.rbegin(), experts.rend());
  std::vector<int64_t> chosen;
  for (int64_t k = 0; k < moe.top_k; ++k) chosen.push_back(experts[k].second);
  return chosen;
}

TEST(Router, NodeLimitedRoutingIsThePapersRule) {
  for (const MoEOptions& moe : std::vector<MoEOptions>{
           {.num_experts = 16, .top_k = 4, .n_expert_groups = 4, .n_limited_groups = 2},
           {.num_experts = 12, .top_k = 2, .n_expert_groups = 6, .n_limited_groups = 1},
           {.num_experts = 32, .top_k = 8, .n_expert_groups = 8, .n_limited_groups = 4},
           {.num_experts = 9, .top_k = 2, .n_expert_groups = 3, .n_limited_groups = 3},
           {.num_experts = 8, .top_k = 4, .n_expert_groups = 4, .n_limited_groups = 3}}) {
    Router router = router_of(moe);
    const at::Tensor bias = at::randn({moe.num_experts}) * 0.3;
    const Routing routing = router(at::randn({50, 6}), bias);
    const at::Tensor ranking = (routing.affinity + bias).detach().contiguous();
    int64_t limited = 0;
    for (int64_t t = 0; t < 50; ++t) {
      const auto* score = ranking.const_data_ptr<float>() + t * moe.num_experts;
      const std::vector<float> scores(score, score + moe.num_experts);
      EXPECT_EQ(row_of(routing.experts, t), group_limited_choice(scores, moe));
      limited += row_of(routing.experts, t) != row_of(std::get<1>(ranking.topk(moe.top_k, 1)), t);
    }
    EXPECT_EQ(limited > 0, moe.n_limited_groups < moe.n_expert_groups);
  }
}

TEST(Router, SizesThatDoNotFitAreRefused) {
  const auto build = [](const MoEOptions& moe) { Router(4, moe, at::TensorOptions()); };
  EXPECT_THROW(build({.num_experts = 2, .top_k = 3}), Error);
  EXPECT_THROW(build({.num_experts = 8, .n_expert_groups = 3}), Error);
  EXPECT_THROW(build({.num_experts = 8, .n_expert_groups = 4, .n_limited_groups = 5}), Error);
  EXPECT_THROW(build({.num_experts = 8, .top_k = 4, .n_expert_groups = 4, .n_limited_groups = 1}),
               Error);
}

}  // namespace
}  // namespace coeus::nn
