// A layer whose experts are spread over ranks equals one rank's that sees all tokens.
#include "coeus/parallel/expert/expert_parallel.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "coeus/base/error.h"
#include "coeus/comm/test_ranks.h"
#include "coeus/nn/autocast.h"
#include "coeus/nn/init.h"
#include "coeus/nn/parameter.h"
#include "coeus/nn/recompute.h"
#include "coeus/parallel/expert/load_balance_over_ranks.h"

namespace coeus {
namespace {

constexpr int64_t kDim = 8;
constexpr int64_t kSequence = 7;

/// A layer as a model's only one, "moe".
struct LayerAlone : torch::nn::Module {
  /// Of one rank.
  explicit LayerAlone(const nn::MoEOptions& options) {
    make(options);
    init_weights();
  }
  /// Of one of many.
  LayerAlone(const nn::MoEOptions& options, const ParallelGroups& groups) {
    {
      const nn::WithoutMemory without_memory;
      make(options);
    }
    ShardedParameters parameters(*this);
    apply_expert_parallel(*this, parameters, groups);
    slices = parameters.slices();
    parameters.materialize();
    const nn::SlicedInit own_slices(slices);
    init_weights();
  }

  nn::MoE moe{nullptr};
  std::map<std::string, TensorSlice> slices;

 private:
  void make(const nn::MoEOptions& options) {
    moe = register_module("moe", nn::MoE(kDim, 12, options, at::TensorOptions()));
  }
  void init_weights() {
    moe->init_weights(7, "moe", 0.5);
    const at::NoGradGuard no_grad;
    for (at::Tensor& parameter : moe->parameters()) parameter.mul_(10);
  }
};

struct Layout {
  ParallelDegrees degrees;
  std::vector<int64_t> rows;  ///< of each data rank
  nn::MoEOptions options = {.num_experts = 6, .top_k = 2};
};

/// Uneven where it can be.
ChunkRange own_rows(const Layout& layout, const Mesh& mesh) {
  ChunkRange range;
  for (int64_t rank = 0; rank < mesh.data_rank(); ++rank) range.begin += layout.rows[rank];
  range.size = layout.rows[mesh.data_rank()];
  return range;
}

ChunkRange own_tokens(const Mesh& mesh) {
  const ChunkRange of_cp = chunk_of(kSequence, mesh.degrees().cp, mesh.cp());
  if (!moe_sees_sequence_shares(mesh)) return of_cp;
  const ChunkRange of_tp = chunk_of(of_cp.size, mesh.degrees().tp, mesh.tp());
  return {of_cp.begin + of_tp.begin, of_tp.size};
}

at::Tensor own_part(const at::Tensor& batch, const ChunkRange& rows, const ChunkRange& tokens) {
  return batch.narrow(0, rows.begin, rows.size).narrow(1, tokens.begin, tokens.size);
}

using Metrics = std::vector<std::pair<std::string, double>>;

struct Results {
  at::Tensor out, grad_x;
  std::map<std::string, at::Tensor> grads;
  at::Tensor tokens_per_expert, expert_bias;
  Metrics metrics;
};

Results forward_backward(LayerAlone& model, const at::Tensor& batch, const at::Tensor& factors,
                         int64_t step_rows, bool recomputed) {
  model.moe->reset_usage();
  model.moe->set_step_rows(step_rows);
  Results results;
  at::Tensor x = batch.clone().requires_grad_();
  const auto f = [&](const at::Tensor& h) { return model.moe(h); };
  results.out = recomputed ? nn::recompute(f, x) : f(x);
  (results.out * factors).sum().backward();
  results.grad_x = x.grad();
  for (const auto& item : model.named_parameters())
    results.grads[item.key()] = item.value().grad().clone();
  results.tokens_per_expert = model.moe->usage().tokens_per_expert.clone();
  return results;
}

struct Batch {
  at::Tensor x, factors;
};

Batch batch_of(const Layout& layout) {
  const int64_t rows = std::accumulate(layout.rows.begin(), layout.rows.end(), int64_t{0});
  torch::manual_seed(3);
  const at::Tensor x = at::randn({rows, kSequence, kDim});
  return {x, at::linspace(-1, 1, x.numel()).view(x.sizes())};
}

Results reference(const Layout& layout, const Batch& batch) {
  LayerAlone model(layout.options);
  Results results = forward_backward(model, batch.x, batch.factors, batch.x.size(0), false);
  const nn::NamedMoELayers layers = nn::moe_layers_of(model);
  nn::update_expert_bias(layers);
  results.expert_bias = model.moe->expert_bias;
  results.metrics = nn::expert_usage_metrics(nn::expert_usage(layers));
  return results;
}

bool close(const at::Tensor& a, const at::Tensor& b) { return at::allclose(a, b, 1e-4, 1e-5); }

void expect_near(const Metrics& metrics, const Metrics& want) {
  ASSERT_EQ(metrics.size(), want.size());
  for (size_t i = 0; i < metrics.size(); ++i) {
    EXPECT_EQ(metrics[i].first, want[i].first);
    EXPECT_NEAR(metrics[i].second, want[i].second, 1e-6 * (1 + want[i].second)) << want[i].first;
  }
}

void expect_equal(const Layout& layout, bool recomputed, const Batch& batch) {
  const Results want = reference(layout, batch);
  run_ranks(layout.degrees, [&](const ParallelGroups& groups) {
    const Mesh& mesh = groups.mesh;
    LayerAlone model(layout.options, groups);
    const ChunkRange rows = own_rows(layout, mesh), tokens = own_tokens(mesh);
    Results got =
        forward_backward(model, own_part(batch.x, rows, tokens),
                         own_part(batch.factors, rows, tokens), batch.x.size(0), recomputed);
    EXPECT_TRUE(close(got.out, own_part(want.out, rows, tokens)));
    EXPECT_TRUE(close(got.grad_x, own_part(want.grad_x, rows, tokens)));
    for (const auto& [name, slice] : model.slices) {
      const bool of_expert = name.find(".experts.w") != std::string::npos;
      at::Tensor grad = groups.replicate->all_reduce(got.grads.at(name), "test");
      grad = (of_expert ? groups.expert_shard : groups.shard)->all_reduce(grad, "test");
      if (!of_expert && moe_sees_sequence_shares(mesh))
        grad = groups.tensor->all_reduce(grad, "test");
      at::Tensor expected = want.grads.at(name);
      for (size_t d = 0; d < slice.size.size(); ++d)
        expected = expected.narrow(static_cast<int64_t>(d), slice.begin[d], slice.size[d]);
      EXPECT_TRUE(close(grad, expected)) << name << " on rank " << mesh.rank();
    }
    at::Tensor counts = got.tokens_per_expert;
    sum_of_tokens(groups)(counts);
    EXPECT_TRUE(at::equal(counts, want.tokens_per_expert));
    const nn::NamedMoELayers layers = nn::moe_layers_of(model);
    expect_near(expert_usage_metrics(layers, groups), want.metrics);
    nn::update_expert_bias(layers, sum_of_tokens(groups));
    if (want.expert_bias.defined()) {
      EXPECT_TRUE(at::equal(model.moe->expert_bias, want.expert_bias));
    }
  });
}

void expect_equal(const Layout& layout) {
  for (const bool recomputed : {false, true}) expect_equal(layout, recomputed, batch_of(layout));
}

nn::MoEOptions with_losses() {
  return {.num_experts = 6, .top_k = 2, .sequence_balance_loss_coeff = 0.3, .z_loss_coeff = 0.02};
}

TEST(ExpertParallel, EqualsOneRankThatSeesAllTokens) {
  expect_equal({{.dp_shard = 2, .ep = 2}, {1, 3}});
  expect_equal({{.dp_shard = 4, .ep = 4}, {2, 1, 1, 2}});
  // Scores after experts, softmax, more shared experts, no bias.
  expect_equal({{.dp_shard = 3, .ep = 3},
                {2, 1, 1},
                {.num_experts = 8,
                 .num_shared_experts = 2,
                 .score_func = nn::ScoreFunction::kSoftmax,
                 .top_k = 3,
                 .route_norm = true,
                 .score_before_experts = false,
                 .load_balance_coeff = std::nullopt}});
}

TEST(ExpertParallel, ExpertsNeedNotDivideByRanks) {
  expect_equal({{.dp_shard = 3, .ep = 3}, {1, 2, 1}, {.num_experts = 5, .top_k = 2}});
  // The last rank of four holds none of them.
  expect_equal({{.dp_shard = 4, .ep = 4}, {1, 1, 1, 1}, {.num_experts = 5, .top_k = 2}});
}

TEST(ExpertParallel, RanksMayHaveNoTokens) {
  expect_equal({{.dp_shard = 3, .ep = 3}, {0, 2, 1}});
  expect_equal({{.dp_shard = 2, .ep = 2}, {2, 0}});
}

TEST(ExpertParallel, ExpertsMayBeUnused) {
  Layout layout = {{.dp_shard = 2, .ep = 2}, {1, 1}, {.num_experts = 8, .top_k = 1}};
  // All tokens are one: seven experts get nothing, and one of the ranks.
  Batch batch = batch_of(layout);
  batch.x = batch.x.slice(0, 0, 1).slice(1, 0, 1).expand_as(batch.x).contiguous();
  expect_equal(layout, false, batch);
}

TEST(ExpertParallel, SomeRanksShareTheSameExperts) {
  expect_equal({{.dp_shard = 4, .ep = 2}, {1, 2, 1, 1}});
  expect_equal({{.dp_replicate = 2, .dp_shard = 2, .ep = 2}, {1, 2, 1, 1}});
}

TEST(ExpertParallel, RanksOfTensorParallelismMayHoldOtherExpertsForTheirShareOfTheSequence) {
  expect_equal({{.dp_shard = 2, .tp = 2, .ep = 4}, {1, 2}, with_losses()});
  expect_equal({{.dp_shard = 2, .tp = 2, .ep = 2}, {1, 2}, with_losses()});
  expect_equal({{.dp_shard = 1, .tp = 3, .ep = 3}, {2}, with_losses()});
}

TEST(ExpertParallel, RanksOfTensorParallelismMaySplitExpertsAndExchangeAmongTheirLike) {
  expect_equal({{.dp_shard = 2, .tp = 2, .ep = 2, .etp = 2}, {1, 2}});
}

TEST(ExpertParallel, AuxiliaryLossesAreThoseOfTheWholeBatch) {
  expect_equal({{.dp_shard = 2, .ep = 2}, {1, 3}, with_losses()});
  expect_equal({{.dp_shard = 2, .cp = 2, .ep = 2}, {1, 2}, with_losses()});
  // Without experts to spread, too.
  expect_equal({{.dp_shard = 2, .cp = 2}, {1, 2}, with_losses()});
}

TEST(ExpertParallel, WhatEveryRankOfTensorParallelismComputesCountsOnce) {
  const Layout layout = {{.tp = 2}, {2}, with_losses()};
  Batch batch = batch_of(layout);
  batch.factors.zero_();
  const Results want = reference(layout, batch);
  run_ranks(layout.degrees, [&](const ParallelGroups& groups) {
    LayerAlone model(layout.options, groups);
    const Results got = forward_backward(model, batch.x, batch.factors, 2, false);
    EXPECT_TRUE(close(groups.tensor->all_reduce(got.grads.at("moe.router.gate.weight"), "test"),
                      want.grads.at("moe.router.gate.weight")));
    EXPECT_GT(want.grads.at("moe.router.gate.weight").abs().max().item<double>(), 1e-4);
    expect_near(expert_usage_metrics(nn::moe_layers_of(model), groups), want.metrics);
  });
}

TEST(ExpertParallel, RowsTravelInAutocastsDtype) {
  const Layout layout = {{.dp_shard = 2, .ep = 2}, {1, 1}};
  const Batch batch = batch_of(layout);
  const auto bfloat16 = [&](LayerAlone& model, const at::Tensor& x) {
    const at::NoGradGuard no_grad;
    const nn::Autocast autocast(at::kBFloat16);
    return model.moe(x);
  };
  LayerAlone alone(layout.options);
  const at::Tensor want = bfloat16(alone, batch.x);
  run_ranks(layout.degrees, [&](const ParallelGroups& groups) {
    LayerAlone model(layout.options, groups);
    EXPECT_TRUE(at::allclose(bfloat16(model, batch.x.narrow(0, groups.mesh.rank(), 1)),
                             want.narrow(0, groups.mesh.rank(), 1), 2e-2, 1e-2));
  });
}

TEST(ExpertParallel, MoreRanksThanExpertsAreRefusedWithTheNumbers) {
  try {
    run_ranks({.dp_shard = 3, .ep = 3},
              [](const ParallelGroups& groups) { LayerAlone({.num_experts = 2}, groups); });
    FAIL() << "not refused";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("expert_parallel_degree = 3: moe has only 2 experts"),
              std::string::npos)
        << error.what();
  }
}

TEST(ExpertParallel, UsageIsThatOfTheStepThoughLayersCountAnewBeforeItIsRead) {
  run_ranks({.dp_shard = 2}, [](const ParallelGroups& groups) {
    LayerAlone model({.num_experts = 2, .z_loss_coeff = 1});
    const nn::NamedMoELayers layers = {{"moe", model.moe.ptr()}};
    model.moe->usage().tokens_per_expert.copy_(at::tensor({1, 3}, at::kLong));
    model.moe->usage().z_loss.fill_(0.5);
    const auto metrics = begin_expert_usage_metrics(layers, groups);
    model.moe->reset_usage();
    model.moe->usage().tokens_per_expert.fill_(7);
    EXPECT_EQ(metrics(), (Metrics{{"moe/moe/max_load", 1.5},
                                  {"moe/moe/min_load", 0.5},
                                  {"moe/max_load", 1.5},
                                  {"moe/min_load", 0.5},
                                  {"moe/unused_experts", 0},
                                  {"moe/z_loss", 1}}));
  });
}

TEST(ExpertParallel, UsageIsGatheredFromAllStagesOfAPipeline) {
  run_ranks({.pp = 2, .dp_shard = 2}, [](const ParallelGroups& groups) {
    LayerAlone model({.num_experts = 2});
    const int64_t stage = groups.mesh.pp(), rank = groups.mesh.dp_shard();
    model.moe->usage().tokens_per_expert.copy_(at::tensor({1 + stage, 3 * rank}, at::kLong));
    const nn::NamedMoELayers layers = {{fmt::format("layers.{}.moe", stage), model.moe.ptr()}};
    // Over both ranks: 2 and 3 in the first stage, 4 and 3 in the second.
    const Metrics metrics = expert_usage_metrics(layers, groups);
    ASSERT_EQ(metrics.size(), 7U);
    EXPECT_EQ(metrics[0].first, "moe/layers.0.moe/max_load");
    EXPECT_NEAR(metrics[0].second, 3 / 2.5, 1e-9);
    EXPECT_EQ(metrics[3].first, "moe/layers.1.moe/min_load");
    EXPECT_NEAR(metrics[3].second, 3 / 3.5, 1e-9);
    EXPECT_NEAR(metrics[5].second, 2 / 2.5, 1e-9);
  });
}

}  // namespace
}  // namespace coeus
