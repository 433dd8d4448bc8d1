#pragma once

#include <string>

#include "coeus/parallel/pipeline/pipeline_plan.h"
#include "coeus/train/job_config.h"

namespace coeus {

/// The pipeline of a configuration: its schedule, and which modules of the model each stage has.
/// Throws ConfigError without one (a degree of 1), for a model that cannot be cut, and for numbers
/// that do not fit.
PipelinePlan plan_job_pipeline(const JobConfig& config);

/// Stages, schedule as text, memory and bubble, as `coeus config --pipeline` prints them.
std::string pipeline_summary(const PipelinePlan& plan);

}  // namespace coeus
