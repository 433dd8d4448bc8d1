#include "coeus/parallel/pipeline/pipeline_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> modules_of(int64_t layers) {
  std::vector<std::string> names = {"tok_embeddings"};
  for (int64_t i = 0; i < layers; ++i) names.push_back("layers." + std::to_string(i));
  names.insert(names.end(), {"norm", "output"});
  return names;
}

std::vector<size_t> sizes_of(const StageModules& stages) {
  std::vector<size_t> sizes;
  for (const auto& stage : stages) sizes.push_back(stage.size());
  return sizes;
}

TEST(StageSplit, TheFirstAndTheLastStageHaveFewerLayers) {
  const StageModules stages = split_into_stages(modules_of(6), 2, 1, 1);
  EXPECT_THAT(stages[0], ElementsAre("tok_embeddings", "layers.0", "layers.1", "layers.2"));
  EXPECT_THAT(stages[1], ElementsAre("layers.3", "layers.4", "layers.5", "norm", "output"));
  // 9 in 4 stages: 3 2 2 2; the weight may take all that a stage has.
  EXPECT_THAT(sizes_of(split_into_stages(modules_of(7), 4, 1, 1)), ElementsAre(3, 2, 2, 3));
  EXPECT_THAT(split_into_stages(modules_of(4), 3, 2, 1)[0],
              ElementsAre("tok_embeddings", "layers.0"));
}

TEST(StageSplit, HoldsEveryModuleOnceAndInOrderWhateverTheSizes) {
  for (int64_t layers = 1; layers <= 13; ++layers) {
    const auto modules = modules_of(layers);
    for (int64_t stages = 1; stages <= 8; ++stages) {
      for (int64_t input = 0; input <= 3; ++input) {
        for (int64_t output = 0; output <= 3; ++output) {
          const int64_t least = (layers + input + output) / stages;
          if (stages > 1 && (least < 1 || input > least || output > least)) {
            EXPECT_THROW(split_into_stages(modules, stages, input, output), ConfigError);
            continue;
          }
          const StageModules split = split_into_stages(modules, stages, input, output);
          EXPECT_EQ(split.size(), static_cast<size_t>(stages));
          EXPECT_NO_THROW(check_stage_modules(split, modules))
              << layers << " layers, " << stages << " stages, " << input << ", " << output;
        }
      }
    }
  }
}

TEST(StageSplit, MistakesInOnesOwnSplitAreNamed) {
  const auto refusal = [](const StageModules& stages) -> std::string {
    try {
      check_stage_modules(stages, modules_of(2));
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(refusal({{"tok_embeddings", "layers.0"}, {"layers.1", "norm", "output"}}), "accepted");
  EXPECT_THAT(refusal({{"tok_embeddings", "layers.0"}, {"layers.1", "norm"}}),
              HasSubstr("no stage has \"output\""));
  EXPECT_THAT(refusal({{"tok_embeddings", "layers.2"}, {"layers.1", "norm"}}),
              HasSubstr("no module \"layers.2\""));
  EXPECT_THAT(refusal({{"tok_embeddings", "layers.1"}, {"layers.0", "norm", "output"}}),
              HasSubstr("\"layers.1\" of stage 0 stands where \"layers.0\" must"));
  EXPECT_THAT(refusal({{}, {"tok_embeddings"}}), HasSubstr("stage 0 has no module"));
}

std::string refusal(const ParallelismConfig& config, int64_t layers = 6, int64_t batch = 8) {
  try {
    plan_pipeline(config, modules_of(layers), batch);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(PipelinePlan, StagesAreAsManyAsTorchTitanMakes) {
  ParallelismConfig config{.pipeline_parallel_degree = 2};
  EXPECT_EQ(plan_pipeline(config, modules_of(6), 8).schedule.stages, 2);
  config.pipeline_parallel_schedule = "Interleaved1F1B";
  EXPECT_EQ(plan_pipeline(config, modules_of(6), 8).schedule.stages, 4);
  config.pipeline_parallel_layers_per_stage = 1;
  EXPECT_EQ(plan_pipeline(config, modules_of(6), 8).schedule.stages, 8);
  config.pipeline_parallel_layers_per_stage.reset();
  config.module_fqns_per_model_part = {
      {"tok_embeddings"}, {"layers.0"}, {"layers.1", "norm"}, {"output"}};
  EXPECT_THAT(plan_pipeline(config, modules_of(2), 8).stages[2], ElementsAre("layers.1", "norm"));
}

TEST(PipelinePlan, TheLastMicroBatchMayBeSmaller) {
  ParallelismConfig config{.pipeline_parallel_degree = 2, .pipeline_parallel_microbatch_size = 3};
  EXPECT_EQ(plan_pipeline(config, modules_of(6), 8).schedule.micro_batches, 3);
  config.pipeline_parallel_microbatch_size = 9;
  EXPECT_THAT(refusal(config), HasSubstr("from 1 to training.local_batch_size = 8"));
}

TEST(PipelinePlan, NumbersThatDoNotFitAreNamed) {
  ParallelismConfig config{.pipeline_parallel_degree = 4};
  EXPECT_THAT(refusal(config, 1), HasSubstr("1 layers"));
  config.pipeline_parallel_layers_per_stage = 3;
  EXPECT_THAT(refusal(config), HasSubstr("make 3 pipeline stages, which is no multiple of "
                                         "parallelism.pipeline_parallel_degree = 4"));
  config.pipeline_parallel_layers_per_stage = 1;
  EXPECT_THAT(refusal(config), HasSubstr("the schedule 1F1B has one a rank; make 4 stages"));
  config.pipeline_parallel_schedule = "LoopedBFS";
  config.pipeline_parallel_layers_per_stage = 2;
  EXPECT_THAT(refusal(config), HasSubstr("needs at least two a rank"));
  config = {.pipeline_parallel_degree = 2, .pipeline_parallel_schedule = "PipelineScheduleMulti"};
  EXPECT_THAT(refusal(config), HasSubstr("set parallelism.pipeline_parallel_schedule_csv"));
}

TEST(PipelinePlan, TakesAScheduleFromAFile) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "own.csv";
  std::ofstream(path) << "0F0,0F1,2F0,2F1,2I0,2W0,2B1,0B0,0B1\n1F0,1F1,3F0,3F1,3B0,3B1,1B0,1B1\n";
  ParallelismConfig config{.pipeline_parallel_degree = 2,
                           .pipeline_parallel_schedule = "PipelineScheduleMulti",
                           .pipeline_parallel_schedule_csv = path.string()};
  const PipelinePlan plan = plan_pipeline(config, modules_of(6), 2);
  EXPECT_EQ(plan.schedule.stages, 4);
  EXPECT_EQ(plan.stages.size(), 4U);
  EXPECT_THAT(refusal(config, 6, 3), HasSubstr("is made for 2 micro-batches"));
  config.pipeline_parallel_degree = 4;
  EXPECT_THAT(refusal(config, 6, 2), HasSubstr("has 2 lines"));
  config.pipeline_parallel_degree = 2;
  config.pipeline_parallel_schedule = "PipelineScheduleSingle";
  EXPECT_THAT(refusal(config, 6, 2), HasSubstr("has 4 stages on 2 ranks"));
  config.pipeline_parallel_schedule = "1F1B";
  EXPECT_THAT(refusal(config, 6, 2), HasSubstr("are two schedules"));
  config.pipeline_parallel_schedule = "PipelineScheduleMulti";
  config.pipeline_parallel_layers_per_stage = 4;
  EXPECT_THAT(refusal(config, 6, 2), HasSubstr("make 2 pipeline stages, and"));
  config.pipeline_parallel_schedule_csv = "/no/such.csv";
  EXPECT_THAT(refusal(config, 6, 2), HasSubstr("/no/such.csv cannot be read"));
}

}  // namespace
}  // namespace coeus
