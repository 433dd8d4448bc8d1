#include "coeus/parallel/pipeline/pipeline_plan.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "coeus/base/error.h"
#include "coeus/parallel/pipeline/make_schedule.h"
#include "coeus/parallel/pipeline/schedule_csv.h"

namespace coeus {

namespace {

/// The names that TorchTitan takes beside a file.
struct FileSchedule {
  std::string_view name;
  bool one_stage_a_rank;
};
constexpr std::array<FileSchedule, 3> kFileSchedules = {{{"PipelineScheduleSingle", true},
                                                         {"PipelineScheduleMulti", false},
                                                         {"_PipelineScheduleRuntime", false}}};

const FileSchedule* file_schedule(const std::string& name) {
  const auto* found = std::find_if(kFileSchedules.begin(), kFileSchedules.end(),
                                   [&](const FileSchedule& each) { return each.name == name; });
  return found == kFileSchedules.end() ? nullptr : found;
}

PipelineSchedule schedule_of_file(const ParallelismConfig& config, int64_t micro_batches) {
  const FileSchedule* kind = file_schedule(config.pipeline_parallel_schedule);
  COEUS_CHECK_CONFIG(kind != nullptr,
                     "parallelism.pipeline_parallel_schedule = \"{}\" and "
                     "pipeline_parallel_schedule_csv = \"{}\" are two schedules; for the file's "
                     "set pipeline_parallel_schedule = \"PipelineScheduleMulti\"",
                     config.pipeline_parallel_schedule, config.pipeline_parallel_schedule_csv);
  PipelineSchedule schedule = read_schedule_csv(config.pipeline_parallel_schedule_csv);
  COEUS_CHECK_CONFIG(schedule.rank_count() == config.pipeline_parallel_degree,
                     "{} has {} lines, one a rank, and parallelism.pipeline_parallel_degree is {}",
                     schedule.name, schedule.rank_count(), config.pipeline_parallel_degree);
  COEUS_CHECK_CONFIG(!kind->one_stage_a_rank || schedule.stages == schedule.rank_count(),
                     "{} has {} stages on {} ranks, and "
                     "parallelism.pipeline_parallel_schedule = \"{}\" has one a rank; set "
                     "PipelineScheduleMulti",
                     schedule.name, schedule.stages, schedule.rank_count(), kind->name);
  COEUS_CHECK_CONFIG(schedule.micro_batches == micro_batches,
                     "{} is made for {} micro-batches, and training.local_batch_size in "
                     "micro-batches of parallelism.pipeline_parallel_microbatch_size = {} makes {}",
                     schedule.name, schedule.micro_batches,
                     config.pipeline_parallel_microbatch_size, micro_batches);
  return schedule;
}

/// How many stages the configuration asks for; nothing: as many as the schedule makes of itself.
std::optional<int64_t> configured_stages(const ParallelismConfig& config,
                                         const std::vector<std::string>& modules) {
  if (config.module_fqns_per_model_part)
    return static_cast<int64_t>(config.module_fqns_per_model_part->size());
  if (!config.pipeline_parallel_layers_per_stage) return {};
  const int64_t of_stage = *config.pipeline_parallel_layers_per_stage;
  const int64_t all = layer_count(modules) + config.pipeline_parallel_first_stage_less_layers +
                      config.pipeline_parallel_last_stage_less_layers;
  return (all + of_stage - 1) / of_stage;
}

/// Where the number of stages comes from, for messages.
std::string reason_for_stages(const ParallelismConfig& config,
                              const std::vector<std::string>& modules) {
  if (config.module_fqns_per_model_part) return "parallelism.module_fqns_per_model_part names";
  return fmt::format(
      "{} layers, {} and {} more for embedding and output, in stages of "
      "parallelism.pipeline_parallel_layers_per_stage = {} make",
      layer_count(modules), config.pipeline_parallel_first_stage_less_layers,
      config.pipeline_parallel_last_stage_less_layers, *config.pipeline_parallel_layers_per_stage);
}

PipelineSchedule named_schedule(const ParallelismConfig& config,
                                const std::vector<std::string>& modules, int64_t micro_batches) {
  COEUS_CHECK_CONFIG(file_schedule(config.pipeline_parallel_schedule) == nullptr,
                     "parallelism.pipeline_parallel_schedule = \"{}\" takes its schedule from a "
                     "file; set parallelism.pipeline_parallel_schedule_csv",
                     config.pipeline_parallel_schedule);
  const ScheduleTraits& traits = schedule_traits(config.pipeline_parallel_schedule);
  const int64_t ranks = config.pipeline_parallel_degree;
  const std::optional<int64_t> stages = configured_stages(config, modules);
  if (!stages)
    return make_schedule(traits.name, ranks, traits.stages_per_rank == 1 ? 1 : 2, micro_batches);
  COEUS_CHECK_CONFIG(*stages % ranks == 0,
                     "{} {} pipeline stages, which is no multiple of "
                     "parallelism.pipeline_parallel_degree = {}",
                     reason_for_stages(config, modules), *stages, ranks);
  COEUS_CHECK_CONFIG(traits.stages_per_rank == 1 || *stages / ranks >= 2,
                     "{} {} pipeline stages on {} ranks, and the schedule {} needs at least two a "
                     "rank; make more stages or take 1F1B",
                     reason_for_stages(config, modules), *stages, ranks, traits.name);
  COEUS_CHECK_CONFIG(
      traits.stages_per_rank == 0 || *stages == ranks * traits.stages_per_rank,
      "{} {} pipeline stages on {} ranks, and the schedule {} has {}; make {} stages "
      "or take Interleaved1F1B",
      reason_for_stages(config, modules), *stages, ranks, traits.name,
      traits.stages_per_rank == 1 ? "one a rank" : "two a rank", ranks * traits.stages_per_rank);
  return make_schedule(traits.name, ranks, *stages / ranks, micro_batches);
}

}  // namespace

PipelinePlan plan_pipeline(const ParallelismConfig& config, const std::vector<std::string>& modules,
                           int64_t batch_size) {
  const int64_t rows = config.pipeline_parallel_microbatch_size;
  COEUS_CHECK_CONFIG(rows >= 1 && rows <= batch_size,
                     "parallelism.pipeline_parallel_microbatch_size = {} must be from 1 to "
                     "training.local_batch_size = {}",
                     rows, batch_size);
  const int64_t micro_batches = (batch_size + rows - 1) / rows;
  PipelinePlan plan{.micro_batch_size = rows};
  plan.schedule = config.pipeline_parallel_schedule_csv.empty()
                      ? named_schedule(config, modules, micro_batches)
                      : schedule_of_file(config, micro_batches);
  const std::optional<int64_t> stages = configured_stages(config, modules);
  COEUS_CHECK_CONFIG(!stages || *stages == plan.schedule.stages,
                     "{} {} pipeline stages, and {} has {}", reason_for_stages(config, modules),
                     *stages, plan.schedule.name, plan.schedule.stages);
  if (config.module_fqns_per_model_part) {
    check_stage_modules(*config.module_fqns_per_model_part, modules);
    plan.stages = *config.module_fqns_per_model_part;
  } else {
    plan.stages = split_into_stages(modules, plan.schedule.stages,
                                    config.pipeline_parallel_first_stage_less_layers,
                                    config.pipeline_parallel_last_stage_less_layers);
  }
  return plan;
}

std::string stages_text(const PipelinePlan& plan) {
  const std::vector<int64_t> rank_of = plan.schedule.rank_of_stage();
  std::string text;
  for (size_t stage = 0; stage < plan.stages.size(); ++stage) {
    const std::vector<std::string>& modules = plan.stages[stage];
    text +=
        fmt::format("stage {:<3} on rank {:<3} {}\n", stage, rank_of[stage],
                    modules.size() == 1 ? modules.front()
                                        : fmt::format("{} … {}", modules.front(), modules.back()));
  }
  return text;
}

}  // namespace coeus
