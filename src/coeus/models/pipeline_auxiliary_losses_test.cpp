// Auxiliary losses of experts, over micro-batches of a pipeline.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <vector>

#include "coeus/models/pipeline_run_test.h"
#include "coeus/parallel/pipeline/make_schedule.h"

namespace coeus {
namespace {

std::shared_ptr<Model> llama4_with_losses() {
  nn::MoEOptions moe = small_experts();
  moe.z_loss_coeff = 0.1;
  moe.sequence_balance_loss_coeff = 0.1;
  return llama4_of(moe);
}

TEST(Pipeline, AuxiliaryLossesAreThoseOfTheWholeBatch) {
  // 5 rows are 2, 2 and 1: each micro-batch counts by its rows.
  const auto gradients = [](const std::vector<int64_t>& micro_batch_sizes) {
    const auto model = drawn(llama4_with_losses);
    const PipelineBatch batch = batch_of(*model, 5);
    model->begin_step(5);
    PipelineRuntime runtime(
        make_schedule("1F1B", 1, 1, static_cast<int64_t>(micro_batch_sizes.size())),
        {{0,
          [&](const at::Tensor& x, const at::Tensor& positions, const AttentionMasks& masks) {
            return model->forward_part(x, positions, masks);
          }}},
        std::move(make_in_process_transports(1).front()),
        {.hidden_size = 16, .micro_batch_size = micro_batch_sizes.front()});
    runtime.run(batch, [&](const at::Tensor& normed, const at::Tensor&) {
      return 0 * model->output(normed).sum();
    });
    Result result;
    result.add(*model);
    return result;
  };
  const Result parts = gradients({2, 2, 1}), whole = gradients({5});
  EXPECT_GT(whole.gradients.at("layers.1.moe.router.gate.weight").abs().max().item<double>(), 1e-5);
  expect_close(parts, whole);
}

}  // namespace
}  // namespace coeus
