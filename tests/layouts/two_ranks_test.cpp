// Two ranks with a GPU each (or sharing one, see job_device.h) train as one does: in float32 to the
// loss of one GPU, in bfloat16 to within its noise. For ./test.sh cuda; CPUs have SameLoss and
// ContextParallelLoss.
#include <gtest/gtest.h>

#include <map>

#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"
#include "coeus/ops/test_device.h"
#include "layout_run.h"

namespace coeus {
namespace {

/// What bfloat16's rounding (1 part in 256) in another order of sums makes of ten steps' losses,
/// which lie between 4 and 9.
constexpr CompareLimits kBfloat16Noise = {.loss_absolute = 2e-2, .grad_norm_relative = 5e-2};

constexpr const char* kNoSharding = " --parallelism.data_parallel_shard_degree=1";

struct Case {
  LayoutModel model;
  Layout layout;
  std::string dtype;
};

Layout two_ranks(const std::string& name, const std::string& flags, bool needs_experts = false) {
  return {name, 2, 1, kNoSharding + flags, needs_experts};
}

Layout context_parallel(const std::string& method) {
  return two_ranks("cp " + method,
                   " --parallelism.context_parallel_degree=2"
                   " --parallelism.context_parallel_load_balancer=joint"
                   " --parallelism.context_parallel_method=" +
                       method);
}

std::vector<Layout> layouts_of_two() {
  const std::string pipeline =
      " --parallelism.pipeline_parallel_degree=2 --parallelism.pipeline_parallel_schedule=";
  return {
      {"fsdp", 2, 2, " --parallelism.data_parallel_shard_degree=2"},
      {"ddp", 2, 2, kNoSharding + std::string(" --parallelism.data_parallel_replicate_degree=2")},
      two_ranks("tp", " --parallelism.tensor_parallel_degree=2"),
      two_ranks("pp 1F1B", pipeline + "1F1B"),
      two_ranks("pp ZBV", pipeline + "ZBVZeroBubble"),
      {"ep", 2, 2,
       " --parallelism.data_parallel_shard_degree=2 --parallelism.expert_parallel_degree=2", true},
      context_parallel("allgather"),
      context_parallel("ring"),
      context_parallel("alltoall"),
      context_parallel("needed"),
  };
}

std::vector<Case> cases() {
  if (test_device().is_cpu()) return {};
  std::vector<Case> cases;
  for (const LayoutModel& model : {LayoutModel{"llama3", "debugmodel_flex_attn"},
                                   LayoutModel{"llama4", "debugmodel_irope", true},
                                   LayoutModel{"deepseek_v3", "debugmodel_flex_attn", true},
                                   LayoutModel{"qwen3", "debugmodel_moe_small", true}})
    for (const Layout& layout : layouts_of_two())
      for (const char* dtype : {"float32", "bfloat16"})
        if (model.has_experts || !layout.needs_experts) cases.push_back({model, layout, dtype});
  return cases;
}

class TwoRanks : public testing::TestWithParam<Case> {
 protected:
  /// One rank's, trained once for each model and dtype by the tests of one program.
  LossCurve of_one_rank(const LayoutModel& model, const std::string& flags) const {
    static std::map<std::string, LossCurve> curves;
    LossCurve& curve = curves[model.label() + flags];
    if (curve.empty()) curve = train_in_layout(model, {}, flags, temporary_.path() / "one");
    return curve;
  }
  const TemporaryFolder temporary_;
};

TEST_P(TwoRanks, TrainAsOneDoes) {
  const auto& [model, layout, dtype] = GetParam();
  const std::string flags = "--training.mixed_precision_param=" + dtype;
  const LossCurve one = of_one_rank(model, flags);
  ASSERT_EQ(one.size(), 10U);
  const LossCurve two = train_in_layout(model, layout, flags, temporary_.path() / "two");
  expect_same(one, two, dtype == "float32" ? kSameLoss : kBfloat16Noise);
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TwoRanks);
INSTANTIATE_TEST_SUITE_P(Layouts, TwoRanks, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<Case>& info) {
                           return as_name(info.param.model.label() + "_" + info.param.layout.name +
                                          "_" + info.param.dtype);
                         });

}  // namespace
}  // namespace coeus
