#include "coeus/train/job_device.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/cuda.h>

#include <cstdlib>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/ops/cuda_library.h"

namespace coeus {

namespace {

int64_t gpus_here() { return static_cast<int64_t>(torch::cuda::device_count()); }

/// Why this rank cannot have a GPU; empty when it can.
std::string no_gpu(const RankEnvironment& environment) {
  if (const std::string& reason = load_cuda(); !reason.empty()) return reason;
  if (environment.world_size > 1 && cuda_library().nccl_backend == nullptr)
    return "this build has no NCCL, over which ranks exchange what is on GPUs; build where nccl.h "
           "is installed";
  const bool may_share = std::getenv("COEUS_SHARE_GPUS") != nullptr;
  if (environment.local_world_size > gpus_here() && !may_share)
    return fmt::format("{} ranks of this machine want a GPU each, and it has {}",
                       environment.local_world_size, gpus_here());
  return "";
}

/// Takes a GPU for this process.
at::Device take_gpu(const RankEnvironment& environment) {
  const at::Device gpu(at::kCUDA,
                       static_cast<c10::DeviceIndex>(environment.local_rank % gpus_here()));
  c10::impl::VirtualGuardImpl(at::kCUDA).setDevice(gpu);
  // NCCL refuses two ranks of one host on one GPU, and takes what this says for the host.
  if (environment.local_world_size > gpus_here())
    ::setenv("NCCL_HOSTID", fmt::format("rank {}", environment.rank).c_str(), /*replace=*/0);
  return gpu;
}

}  // namespace

at::Device job_device(const JobConfig& config, const RankEnvironment& environment) {
  if (config.job.device == "cpu") return at::kCPU;
  // cuBLAS reads it when it starts, and LibTorch refuses deterministic products without.
  if (config.training.deterministic) ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*replace=*/0);
  const std::string reason = no_gpu(environment);
  if (reason.empty()) return take_gpu(environment);
  COEUS_CHECK_CONFIG(config.job.device == "auto", "job.device = \"cuda\": {}; use \"cpu\"", reason);
  // Where there is no driver nobody expects a GPU.
  if (has_cuda_driver()) log_warning("job.device = \"auto\": computing on the CPU, for {}", reason);
  return at::kCPU;
}

}  // namespace coeus
