// From the configuration to a schedule and its stages.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coeus/parallel/parallelism_config.h"
#include "coeus/parallel/pipeline/schedule.h"
#include "coeus/parallel/pipeline/stage_split.h"

namespace coeus {

/// What a run's pipeline is.
struct PipelinePlan {
  PipelineSchedule schedule;
  StageModules stages;  ///< one for each of the schedule's
  /// Rows of a micro-batch; the last of a batch may have fewer.
  int64_t micro_batch_size = 1;
};

/// The pipeline of parallelism.pipeline_parallel_degree ranks that the configuration asks for, for
/// a model of these modules in order and batches of `batch_size` rows a data-parallel rank. Stages
/// as TorchTitan makes them: those of module_fqns_per_model_part, or as many as
/// pipeline_parallel_layers_per_stage gives, or one a rank (two for a schedule of several stages a
/// rank), or as many as the schedule's file has. Throws ConfigError with the numbers that do not
/// fit.
PipelinePlan plan_pipeline(const ParallelismConfig& config, const std::vector<std::string>& modules,
                           int64_t batch_size);

/// The stages as a line each: rank, stage, and from which module to which.
std::string stages_text(const PipelinePlan& plan);

}  // namespace coeus
