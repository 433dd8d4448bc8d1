#pragma once

#include <c10/core/Device.h>

#include "coeus/comm/rank_environment.h"
#include "coeus/train/job_config.h"

namespace coeus {

/// The device that job.device names for this rank: "cpu"; "cuda", the GPU of this rank's number on
/// its machine; "auto", which is "cuda" where there is a GPU for every rank of the machine. Loads
/// CUDA when it takes it, and makes the GPU the thread's current one. Throws ConfigError when
/// "cuda" cannot be had, with the reason.
///
/// For training.deterministic it sets CUBLAS_WORKSPACE_CONFIG, without which cuBLAS gives other
/// bits in other runs, unless that is set.
///
/// With COEUS_SHARE_GPUS set in the environment, ranks may be more than GPUs and share them: slow,
/// but all that ranks do on GPUs can be tested on one.
at::Device job_device(const JobConfig& config, const RankEnvironment& environment = {});

}  // namespace coeus
