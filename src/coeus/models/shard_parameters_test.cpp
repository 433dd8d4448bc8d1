#include "coeus/models/shard_parameters.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <mutex>

#include "coeus/comm/test_ranks.h"
#include "coeus/models/registry.h"
#include "coeus/nn/init.h"
#include "coeus/nn/parameter.h"
#include "coeus/parallel/activation_checkpoint.h"

namespace coeus {
namespace {

constexpr int64_t kRows = 4;
constexpr int64_t kSeqLen = 24;
constexpr uint64_t kSeed = 11;

using Gradients = std::map<std::string, at::Tensor>;

std::shared_ptr<Model> model_of(const std::string& name, const std::string& flavor) {
  return build_model(
      {.name = name, .flavor = flavor, .seq_len = kSeqLen, .engine = AttentionEngine::kReference});
}

struct Rows {
  at::Tensor tokens, labels, positions;
  std::vector<SequenceLayout> layouts;
};

Rows rows_of(int64_t begin, int64_t end) {
  auto generator = at::detail::createCPUGenerator(3);
  const at::Tensor all = at::randint(0, 2000, {kRows, kSeqLen + 1}, generator, at::kLong);
  Rows rows;
  rows.tokens = all.slice(0, begin, end).slice(1, 0, kSeqLen).contiguous();
  rows.labels = all.slice(0, begin, end).slice(1, 1).contiguous();
  rows.positions = at::arange(kSeqLen, at::kInt).expand({end - begin, kSeqLen}).contiguous();
  for (int64_t row = begin; row < end; ++row)
    rows.layouts.push_back(
        SequenceLayout::from_document_lengths({{row + 1, 5, kSeqLen - row - 6}}));
  return rows;
}

double pass(Model& model, const Rows& rows) {
  const at::Tensor loss = model.loss_sum(rows.tokens, rows.labels, rows.positions,
                                         model.get_attention_masks(rows.layouts)) /
                          static_cast<double>(kRows * kSeqLen);
  loss.backward();
  return loss.item<double>();
}

Gradients whole_gradients(const std::string& name, const std::string& flavor) {
  const auto model = model_of(name, flavor);
  model->init_weights(kSeed);
  model->begin_step(kRows);
  pass(*model, rows_of(0, kRows));
  Gradients gradients;
  for (const auto& [parameter, tensor] : named_parameters_of(*model))
    // An image encoder has none in a batch of text.
    gradients[parameter] = tensor.grad().defined() ? tensor.grad() : at::zeros_like(tensor);
  return gradients;
}

/// This rank's piece of a whole gradient.
at::Tensor piece_of(const at::Tensor& whole, const TensorSlice& slice) {
  at::Tensor piece = whole;
  for (size_t dim = 0; dim < slice.size.size(); ++dim)
    piece = piece.narrow(static_cast<int64_t>(dim), slice.begin[dim], slice.size[dim]);
  return piece;
}

struct Layout {
  ParallelDegrees degrees;
  bool reshard = true;
  int64_t passes = 1;  ///< of a step, each with its part of the rank's rows
  std::string recompute = "none";
  int64_t loss_chunk_size = 0;
};

/// Runs a step in the layout and calls `look` on every rank.
void step(const std::string& name, const std::string& flavor, const Layout& layout,
          const std::function<void(const ShardedParameters&)>& look) {
  run_ranks(layout.degrees, [&](const ParallelGroups& groups) {
    std::shared_ptr<Model> model;
    {
      const nn::WithoutMemory guard;
      model = model_of(name, flavor);
    }
    apply_activation_checkpoint(model->blocks(), {.mode = layout.recompute});
    model->set_loss_chunk_size(layout.loss_chunk_size);
    ShardedParameters parameters(*model);
    Fsdp fsdp(groups, parameters, {.reshard_after_forward = layout.reshard});
    shard_parameters(*model, fsdp);
    const auto slices = parameters.slices();
    {
      const nn::SlicedInit sliced(slices);
      model->init_weights(kSeed);
    }
    model->begin_step(kRows);
    const int64_t share = kRows / groups.data->size() / layout.passes;
    for (int64_t i = 0; i < layout.passes; ++i) {
      fsdp.begin_pass(i + 1 == layout.passes);
      const int64_t first = (groups.mesh.data_rank() * layout.passes + i) * share;
      pass(*model, rows_of(first, first + share));
      fsdp.end_pass();
    }
    look(parameters);
  });
}

void expect_whole_gradients(const std::string& name, const std::string& flavor,
                            const Layout& layout) {
  const Gradients expected = whole_gradients(name, flavor);
  step(name, flavor, layout, [&](const ShardedParameters& parameters) {
    for (const ShardedParameter& parameter : parameters.all()) {
      const at::Tensor want = piece_of(expected.at(parameter.name), parameter.slice);
      const at::Tensor got = parameter.tensor.grad();
      ASSERT_EQ(got.sizes(), want.sizes()) << parameter.name;
      EXPECT_TRUE(at::allclose(got, want, 1e-4, 1e-7)) << parameter.name;
    }
  });
}

TEST(ShardParameters, GradientsAreThoseOfOneRank) {
  for (const ParallelDegrees& degrees : {ParallelDegrees{.dp_shard = 4},
                                         {.dp_replicate = 2, .dp_shard = 2},
                                         {.dp_replicate = 4},
                                         {.dp_shard = 2}})
    expect_whole_gradients("llama3", "debugmodel_flex_attn", {.degrees = degrees});
}

TEST(ShardParameters, UnevenPiecesWork) {
  // One row a rank would not divide: rows are dealt to three ranks of four rows in one pass each.
  const Gradients expected = whole_gradients("llama3", "debugmodel_flex_attn");
  run_ranks({.dp_shard = 3}, [&](const ParallelGroups& groups) {
    std::shared_ptr<Model> model;
    {
      const nn::WithoutMemory guard;
      model = model_of("llama3", "debugmodel_flex_attn");
    }
    ShardedParameters parameters(*model);
    Fsdp fsdp(groups, parameters, {});
    shard_parameters(*model, fsdp);
    const auto slices = parameters.slices();
    {
      const nn::SlicedInit sliced(slices);
      model->init_weights(kSeed);
    }
    const int64_t rank = groups.mesh.data_rank();
    pass(*model, rank == 2 ? rows_of(2, 4) : rows_of(rank, rank + 1));
    fsdp.end_pass();
    for (const ShardedParameter& parameter : parameters.all())
      EXPECT_TRUE(at::allclose(parameter.tensor.grad(),
                               piece_of(expected.at(parameter.name), parameter.slice), 1e-4, 1e-7))
          << parameter.name;
  });
}

TEST(ShardParameters, WorksWithRecomputationAccumulationAndWholeParameters) {
  expect_whole_gradients("llama3", "debugmodel_flex_attn",
                         {.degrees = {.dp_shard = 2}, .passes = 2, .recompute = "full"});
  expect_whole_gradients("llama3", "debugmodel_flex_attn",
                         {.degrees = {.dp_shard = 2}, .reshard = false, .passes = 2});
  expect_whole_gradients("llama3", "debugmodel_flex_attn",
                         {.degrees = {.dp_replicate = 2}, .passes = 2});
}

TEST(ShardParameters, ServesEveryFamily) {
  expect_whole_gradients("qwen3", "debugmodel", {.degrees = {.dp_shard = 2}});
  expect_whole_gradients("qwen3", "debugmodel_tied", {.degrees = {.dp_shard = 2}});
  expect_whole_gradients("vlm", "debugmodel", {.degrees = {.dp_shard = 2}});
  expect_whole_gradients("deepseek_v3", "debugmodel_flex_attn", {.degrees = {.dp_shard = 2}});
  expect_whole_gradients("llama4", "debugmodel_irope",
                         {.degrees = {.dp_replicate = 2, .dp_shard = 2}});
}

TEST(ShardParameters, TheLossMayBeMadeByChunks) {
  for (const char* flavor : {"debugmodel", "debugmodel_tied"})
    for (const bool reshard : {true, false})
      expect_whole_gradients("qwen3", flavor,
                             {.degrees = {.dp_replicate = 2, .dp_shard = 2},
                              .reshard = reshard,
                              .loss_chunk_size = 10});
  expect_whole_gradients("llama3", "debugmodel_flex_attn",
                         {.degrees = {.dp_shard = 2}, .passes = 2, .loss_chunk_size = 10});
  expect_whole_gradients("vlm", "debugmodel", {.degrees = {.dp_shard = 2}, .loss_chunk_size = 10});
}

TEST(ShardParameters, LayoutsOfDataParallelismAgreeToTheBit) {
  std::mutex mutex;
  std::vector<Gradients> of_layouts;
  for (const ParallelDegrees& degrees :
       {ParallelDegrees{.dp_shard = 4}, {.dp_replicate = 2, .dp_shard = 2}, {.dp_replicate = 4}}) {
    Gradients gradients = whole_gradients("llama3", "debugmodel_flex_attn");
    step("llama3", "debugmodel_flex_attn", {.degrees = degrees},
         [&](const ShardedParameters& parameters) {
           const std::lock_guard lock(mutex);
           for (const ShardedParameter& parameter : parameters.all())
             piece_of(gradients.at(parameter.name), parameter.slice).copy_(parameter.tensor.grad());
         });
    of_layouts.push_back(gradients);
  }
  for (const auto& [name, gradient] : of_layouts[0])
    for (const Gradients& other : of_layouts)
      EXPECT_TRUE(at::equal(gradient, other.at(name))) << name;
}

}  // namespace
}  // namespace coeus
