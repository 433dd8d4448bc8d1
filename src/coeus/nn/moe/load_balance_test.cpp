#include "coeus/nn/moe/load_balance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/types.h>
#include <torch/utils.h>

namespace coeus::nn {
namespace {

std::shared_ptr<MoEImpl> layer_with(const std::vector<int64_t>& counts, const MoEOptions& options) {
  auto layer = std::make_shared<MoEImpl>(4, 4, options, at::TensorOptions());
  layer->usage().tokens_per_expert.copy_(at::tensor(counts, at::kLong));
  return layer;
}

TEST(ExpertBias, MovesUpBelowTheMeanAndDownAboveAndKeepsItsSum) {
  auto layer = layer_with({5, 1, 2, 0}, {.num_experts = 4, .load_balance_coeff = 0.01});
  update_expert_bias({{"moe", layer}});
  // Signs of mean - tokens: -1, 1, 0, 1, whose mean 1/4 is taken off.
  EXPECT_TRUE(at::allclose(layer->expert_bias, at::tensor({-0.0125F, 0.0075F, -0.0025F, 0.0075F}),
                           1e-6, 1e-9));
  update_expert_bias({{"moe", layer}});
  EXPECT_NEAR(layer->expert_bias[0].item<double>(), -0.025, 1e-8);
  EXPECT_NEAR(layer->expert_bias.sum().item<double>(), 0, 1e-8);
}

TEST(ExpertBias, MakesTheUseOfExpertsEven) {
  torch::manual_seed(1);
  auto layer = layer_with({0, 0, 0, 0}, {.num_experts = 4, .load_balance_coeff = 0.002});
  layer->init_weights(1, "moe", 0.1);
  // A feature that all tokens share draws them to the first expert.
  const at::Tensor x = at::cat({at::randn({1, 400, 3}), at::ones({1, 400, 1})}, 2);
  {
    at::NoGradGuard no_grad;
    layer->router->gate->weight[0][3] = 2;
  }
  const auto busiest = [&] {
    layer->reset_usage();
    layer->forward(x);
    return layer->usage().tokens_per_expert.max().item<int64_t>();
  };
  EXPECT_EQ(busiest(), 400);
  for (int step = 0; step < 300; ++step) {
    busiest();
    update_expert_bias({{"moe", layer}});
  }
  EXPECT_LT(busiest(), 130);
}

TEST(ExpertBias, StaysWhereItIsToldNotToMove) {
  const auto bias_after = [](bool moves) {
    auto layer = layer_with({9, 1}, {.num_experts = 2, .load_balance_coeff = 0.01});
    update_expert_bias({{"moe", layer}}, {}, at::scalar_tensor(moves, at::kBool));
    return layer->expert_bias;
  };
  EXPECT_TRUE(at::equal(bias_after(false), at::zeros({2})));
  EXPECT_TRUE(at::equal(bias_after(true), at::tensor({-0.01F, 0.01F})));
}

TEST(ExpertBias, CountsOfAllRanksDecide) {
  auto layer = layer_with({9, 1, 1, 1}, {.num_experts = 4, .load_balance_coeff = 0.01});
  update_expert_bias({{"moe", layer}}, [](at::Tensor& counts) {
    counts.add_(at::tensor({-9, 19, 1, 1}, at::kLong));
  });
  EXPECT_LT(layer->expert_bias[1].item<double>(), 0);
  EXPECT_GT(layer->expert_bias[0].item<double>(), 0);
}

TEST(ExpertBias, ALayerWithoutOneStaysWithout) {
  auto layer = layer_with({4, 0}, {.num_experts = 2, .load_balance_coeff = std::nullopt});
  update_expert_bias({{"moe", layer}});
  EXPECT_FALSE(layer->expert_bias.defined());
}

TEST(ExpertUsage, TellsTheBusiestAndTheIdlestExpert) {
  const NamedMoELayers layers = {{"layers.1.moe", layer_with({6, 2, 4, 0}, {.num_experts = 4})},
                                 {"layers.3.moe", layer_with({3, 3, 4, 2}, {.num_experts = 4})}};
  using testing::Pair;
  EXPECT_THAT(
      expert_usage_metrics(expert_usage(layers)),
      testing::ElementsAre(
          Pair("moe/layers.1.moe/max_load", 2.0), Pair("moe/layers.1.moe/min_load", 0.0),
          Pair("moe/layers.3.moe/max_load", 4.0 / 3), Pair("moe/layers.3.moe/min_load", 2.0 / 3),
          Pair("moe/max_load", 2.0), Pair("moe/min_load", 0.0), Pair("moe/unused_experts", 1.0)));
}

TEST(ExpertUsage, SaysNothingBeforeAnyTokenOrWithoutExperts) {
  EXPECT_TRUE(expert_usage_metrics(expert_usage({{"moe", layer_with({0, 0}, {.num_experts = 2})}}))
                  .empty());
  EXPECT_TRUE(expert_usage_metrics(std::vector<ExpertUsage>()).empty());
}

TEST(MoELayers, AreFoundByNameFromInputToOutput) {
  torch::nn::Module model;
  auto first = model.register_module("first", std::make_shared<torch::nn::ModuleListImpl>());
  first->push_back(MoE(4, 4, MoEOptions(), at::TensorOptions()));
  model.register_module("moe", MoE(4, 4, MoEOptions(), at::TensorOptions()));
  const NamedMoELayers layers = moe_layers_of(model);
  ASSERT_EQ(layers.size(), 2U);
  EXPECT_EQ(layers[0].first, "first.0");
  EXPECT_EQ(layers[1].first, "moe");
}

}  // namespace
}  // namespace coeus::nn
