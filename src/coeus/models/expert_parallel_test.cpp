// Models whose experts are spread over ranks, each rank with rows of its own, against one rank that
// sees all rows.
#include "coeus/parallel/expert/expert_parallel.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include "coeus/base/ignored_label.h"
#include "coeus/comm/test_ranks.h"
#include "coeus/models/deepseek_v3/model.h"
#include "coeus/models/llama4/model.h"
#include "coeus/models/qwen3/model.h"
#include "coeus/models/shard_parameters.h"
#include "coeus/nn/init.h"
#include "coeus/nn/parameter.h"
#include "coeus/parallel/activation_checkpoint.h"
#include "coeus/parallel/expert/load_balance_over_ranks.h"

namespace coeus {
namespace {

constexpr int64_t kSequence = 24;
constexpr int64_t kVocabulary = 64;

std::shared_ptr<Model> llama4_model() {
  llama4::Sizes sizes = {
      .dim = 32, .n_layers = 4, .n_heads = 4, .n_kv_heads = 2, .vocab_size = kVocabulary};
  sizes.multiple_of = 16;
  sizes.max_seq_len = kSequence;
  sizes.moe.num_experts = 6;
  return std::make_shared<llama4::Transformer>(sizes, AttentionEngine::kReference,
                                               at::TensorOptions());
}

/// With a layer that predicts a further token, all but the first with experts.
std::shared_ptr<Model> deepseek_model() {
  deepseek_v3::Sizes sizes;
  sizes.dim = 32;
  sizes.n_layers = 3;
  sizes.n_dense_layers = 1;
  sizes.n_heads = 2;
  sizes.vocab_size = kVocabulary;
  sizes.hidden_dim = 48;
  sizes.moe_hidden_dim = 16;
  sizes.kv_lora_rank = 16;
  sizes.qk_nope_head_dim = 8;
  sizes.qk_rope_head_dim = 8;
  sizes.v_head_dim = 8;
  sizes.max_seq_len = kSequence;
  sizes.n_prediction_layers = 1;
  sizes.moe = {.num_experts = 8,
               .num_shared_experts = 2,
               .score_func = nn::ScoreFunction::kSoftmax,
               .top_k = 3,
               .score_before_experts = false,
               .sequence_balance_loss_coeff = 0.1,
               .z_loss_coeff = 0.01};
  return std::make_shared<deepseek_v3::Transformer>(sizes, AttentionEngine::kReference,
                                                    at::TensorOptions());
}

std::shared_ptr<Model> qwen3_model() {
  qwen3::Sizes sizes = {.dim = 32, .n_layers = 3, .vocab_size = kVocabulary, .hidden_dim = 48};
  sizes.n_heads = 4;
  sizes.n_kv_heads = 2;
  sizes.head_dim = 8;
  sizes.max_seq_len = kSequence;
  sizes.moe = nn::MoEOptions{.num_experts = 5,
                             .num_shared_experts = 0,
                             .score_func = nn::ScoreFunction::kSoftmax,
                             .top_k = 2,
                             .route_norm = true,
                             .score_before_experts = false};
  sizes.moe_hidden_dim = 16;
  return std::make_shared<qwen3::Transformer>(sizes, AttentionEngine::kReference,
                                              at::TensorOptions());
}

/// Which of the tokens of all rows a rank has: other numbers of rows on each.
struct Rows {
  int64_t begin, count, all;
};
Rows rows_of(int64_t ranks, int64_t rank) {
  const auto before = [](int64_t r) { return r * (r + 1) / 2; };
  return {before(rank), rank + 1, before(ranks)};
}

double loss_and_gradients(Model& model, const Rows& rows) {
  const at::Tensor all = (at::arange(rows.all * (kSequence + 1)) * 389)
                             .remainder(8191)
                             .remainder(kVocabulary)
                             .view({rows.all, -1});
  const at::Tensor own = all.narrow(0, rows.begin, rows.count);
  const at::Tensor tokens = own.narrow(1, 0, kSequence).contiguous();
  at::Tensor labels = own.narrow(1, 1, kSequence).clone();
  labels.select(1, 5).fill_(kIgnoredLabel);
  const std::vector<SequenceLayout> layouts(
      rows.count, SequenceLayout::from_document_lengths(std::vector<int64_t>{10, 14}));
  const at::Tensor positions = at::arange(kSequence, at::kInt).repeat({rows.count, 1});
  model.begin_step(rows.all);
  const at::Tensor loss =
      model.loss_sum(tokens, labels, positions, model.get_attention_masks(layouts)) /
      static_cast<double>(rows.all * (kSequence - 1));
  loss.backward();
  return loss.item<double>();
}

struct Case {
  const char* name;
  std::shared_ptr<Model> (*build)();
  int64_t ep;
  int64_t ranks;
  const char* recomputation = "none";  ///< "full", or "op" for by operation
  bool sharded = false;                ///< by FSDP
};

class ExpertParallelModel : public testing::TestWithParam<Case> {};

TEST_P(ExpertParallelModel, LossGradientsAndBiasesAreThoseOfOneRank) {
  const Case& c = GetParam();
  const std::shared_ptr<Model> whole = c.build();
  whole->init_weights(3);
  const double whole_loss =
      loss_and_gradients(*whole, {0, rows_of(c.ranks, 0).all, rows_of(c.ranks, 0).all});
  whole->before_optimizer_step();
  const auto whole_metrics = nn::expert_usage_metrics(nn::expert_usage(nn::moe_layers_of(*whole)));
  std::map<std::string, at::Tensor> whole_gradients, whole_buffers;
  for (const auto& [name, parameter] : named_parameters_of(*whole))
    whole_gradients[name] = parameter.grad();
  for (const auto& item : whole->named_buffers()) whole_buffers[item.key()] = item.value();

  run_ranks({.dp_shard = c.ranks, .ep = c.ep}, [&](const ParallelGroups& groups) {
    std::shared_ptr<Model> model;
    {
      const nn::WithoutMemory without_memory;
      model = c.build();
    }
    ShardedParameters parameters(*model);
    apply_expert_parallel(*model, parameters, groups);
    const bool by_operation = std::string(c.recomputation) == "op";
    apply_activation_checkpoint(
        model->blocks(),
        {.mode = by_operation ? "selective" : c.recomputation, .selective_ac_option = "op"});
    Fsdp fsdp(groups, parameters, {});
    if (c.sharded)
      shard_parameters(*model, fsdp);
    else
      parameters.materialize();
    const auto slices = parameters.slices();
    {
      const nn::SlicedInit own_slices(slices);
      model->init_weights(3);
    }
    if (c.sharded) fsdp.begin_pass(/*last=*/true);
    const double loss = loss_and_gradients(*model, rows_of(c.ranks, groups.mesh.rank()));
    if (c.sharded) fsdp.end_pass();
    EXPECT_NEAR(groups.loss->all_reduce(at::full({}, loss, at::kDouble), "loss").item<double>(),
                whole_loss, 2e-6);
    for (const ShardedParameter& parameter : parameters.all()) {
      const bool of_expert = parameter.name.find(".experts.w") != std::string::npos;
      ASSERT_TRUE(parameter.tensor.grad().defined()) << parameter.name;
      at::Tensor gradient = parameter.tensor.grad();
      if (!c.sharded)
        gradient = (of_expert ? groups.expert_shard : groups.loss)->all_reduce(gradient, "test");
      at::Tensor expected = whole_gradients.at(parameter.name);
      for (size_t d = 0; d < parameter.slice.size.size(); ++d)
        expected = expected.narrow(static_cast<int64_t>(d), parameter.slice.begin[d],
                                   parameter.slice.size[d]);
      EXPECT_TRUE(at::allclose(gradient, expected, 1e-3, 1e-6)) << parameter.name;
    }
    model->before_optimizer_step(sum_of_tokens(groups));
    for (const auto& item : model->named_buffers())
      EXPECT_TRUE(at::equal(item.value(), whole_buffers.at(item.key()))) << item.key();
    const auto metrics = expert_usage_metrics(nn::moe_layers_of(*model), groups);
    ASSERT_EQ(metrics.size(), whole_metrics.size());
    for (size_t i = 0; i < metrics.size(); ++i) {
      EXPECT_EQ(metrics[i].first, whole_metrics[i].first);
      EXPECT_NEAR(metrics[i].second, whole_metrics[i].second, 1e-5) << metrics[i].first;
    }
  });
}

std::vector<Case> cases() {
  return {{"llama4", llama4_model, 2, 2},
          {"llama4", llama4_model, 3, 3},
          {"llama4", llama4_model, 4, 4, "full"},
          {"llama4", llama4_model, 2, 4},
          {"llama4", llama4_model, 2, 4, "full", true},
          {"deepseek_v3", deepseek_model, 2, 2, "full"},
          {"deepseek_v3", deepseek_model, 3, 3, "op"},
          {"deepseek_v3", deepseek_model, 4, 4},
          {"qwen3", qwen3_model, 2, 2},
          {"qwen3", qwen3_model, 4, 4, "none", true},
          {"qwen3", qwen3_model, 3, 3, "full"},
          {"qwen3", qwen3_model, 4, 4, "op"}};
}

INSTANTIATE_TEST_SUITE_P(Models, ExpertParallelModel, testing::ValuesIn(cases()),
                         [](const auto& info) {
                           return fmt::format("{}_ep{}_of_{}_recompute_{}{}", info.param.name,
                                              info.param.ep, info.param.ranks,
                                              info.param.recomputation,
                                              info.param.sharded ? "_fsdp" : "");
                         });

}  // namespace
}  // namespace coeus
