// The ranks of a training job, met.
#pragma once

#include <cstdint>

#include "coeus/comm/parallel_groups.h"
#include "coeus/comm/rank_environment.h"
#include "coeus/train/job_config.h"

namespace coeus {

/// The degrees that [parallelism] asks for among `world` ranks. Throws ConfigError with the numbers
/// that do not fit.
ParallelDegrees job_degrees(const ParallelismConfig& config, int64_t world);

/// This process's groups, once all ranks of the job are there. What cannot be is refused before a
/// port is touched. Throws ConfigError for it, and PeerLostError for ranks that do not come.
ParallelGroups join_job(const JobConfig& config, const RankEnvironment& environment);

}  // namespace coeus
