// When a pipeline stage's gradients are complete, and that those of weights wait for their action.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <map>
#include <set>
#include <vector>

#include "coeus/models/pipeline_run_test.h"
#include "coeus/parallel/pipeline/schedule_csv.h"
#include "coeus/parallel/pipeline/stage_split.h"

namespace coeus {
namespace {

TEST(Pipeline, HooksTellWhenAStagesGradientsAreComplete) {
  for (const char* name : {"1F1B", "InterleavedZeroBubble"}) {
    const PipelineSchedule schedule = schedule_named(name, 1, 3);
    const auto whole = drawn(llama3_documents);
    const StageModules split = split_into_stages(whole->pipeline_modules(), schedule.stages, 1, 1);
    std::vector<PipelineStage> stages;
    std::vector<std::shared_ptr<Model>> parts;
    for (int64_t number = 0; number < schedule.stages; ++number) {
      parts.push_back(drawn(llama3_documents));
      parts.back()->keep_modules(split[number]);
      stages.push_back(
          {number, [part = parts.back()](const at::Tensor& x, const at::Tensor& positions,
                                         const AttentionMasks& masks) {
             return part->forward_part(x, positions, masks);
           }});
    }
    std::map<int64_t, int> completing, complete;
    int runs = 0;
    const PipelineHooks hooks = {
        .before_layers = [&](int64_t stage) { runs += stage == 0 ? 1 : 0; },
        .before_backward = [&](int64_t stage, bool completes) { completing[stage] += completes; },
        .gradients_complete =
            [&](int64_t stage) {
              ++complete[stage];
              for (const auto& [parameter_name, parameter] : named_parameters_of(*parts[stage]))
                EXPECT_TRUE(parameter.grad().defined()) << parameter_name;
            }};
    PipelineRuntime runtime(schedule, stages, std::move(make_in_process_transports(1).front()),
                            {.hidden_size = 16, .micro_batch_size = 2, .hooks = hooks});
    const at::Tensor loss = runtime.run(batch_of(*whole, 5), loss_of(parts.back()));
    EXPECT_GT(loss.item<double>(), 0);
    for (int64_t stage = 0; stage < schedule.stages; ++stage) {
      EXPECT_EQ(complete[stage], 1) << name;
      EXPECT_EQ(completing[stage], schedule.name == "1F1B" ? 1 : 0);
    }
    // Forward and backward of three micro-batches.
    EXPECT_EQ(runs, 6);
  }
}

TEST(Pipeline, WeightGradientsWaitForTheirAction) {
  const auto model = drawn(llama3_documents, {.mode = "selective", .selective_ac_option = "2"});
  std::set<std::string> early;
  const PipelineHooks hooks = {.before_layers = [&](int64_t) {
    for (const auto& [name, parameter] : named_parameters_of(*model))
      if (parameter.grad().defined()) early.insert(name);
  }};
  PipelineRuntime runtime(
      schedule_from_csv("0F0,0I0,0F1,0I1,0W1,0W0", "csv"),
      {{0, [&](const at::Tensor& x, const at::Tensor& positions,
               const AttentionMasks& masks) { return model->forward_part(x, positions, masks); }}},
      std::move(make_in_process_transports(1).front()), {.hidden_size = 16, .hooks = hooks});
  runtime.run(batch_of(*model, 2), loss_of(model));
  for (const auto& [name, parameter] : named_parameters_of(*model)) {
    const bool is_product = name.find("attention.w") != std::string::npos ||
                            name.find("feed_forward.w") != std::string::npos ||
                            name == "output.weight";
    EXPECT_EQ(early.contains(name), !is_product) << name;
    EXPECT_TRUE(parameter.grad().defined()) << name;
  }
}

}  // namespace
}  // namespace coeus
