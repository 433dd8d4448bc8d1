#include "coeus/train/job_device.h"

#include <torch/cuda.h>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/ops/cuda_library.h"

namespace coeus {

namespace {

/// Why this rank cannot have a GPU; empty when it can.
std::string no_gpu(const RankEnvironment& environment) {
  // Ranks exchange tensors by Gloo, which reads the CPU's memory.
  if (environment.world_size > 1) return "a job of several ranks runs on CPUs so far";
  if (const std::string& reason = load_cuda(); !reason.empty()) return reason;
  const auto devices = static_cast<int64_t>(torch::cuda::device_count());
  if (environment.local_world_size > devices)
    return fmt::format("{} ranks of this machine want a GPU each, and it has {}",
                       environment.local_world_size, devices);
  return "";
}

}  // namespace

at::Device job_device(const JobConfig& config, const RankEnvironment& environment) {
  if (config.job.device == "cpu") return at::kCPU;
  const std::string reason = no_gpu(environment);
  if (reason.empty()) return {at::kCUDA, static_cast<c10::DeviceIndex>(environment.local_rank)};
  COEUS_CHECK_CONFIG(config.job.device == "auto", "job.device = \"cuda\": {}; use \"cpu\"", reason);
  // Where there is no driver nobody expects a GPU.
  if (has_cuda_driver()) log_warning("job.device = \"auto\": training on the CPU, for {}", reason);
  return at::kCPU;
}

void check_runs_on_cpu(const JobConfig& config, const std::string& command) {
  COEUS_CHECK_CONFIG(config.job.device != "cuda",
                     "job.device = \"cuda\": {} computes on the CPU; use \"cpu\"", command);
}

}  // namespace coeus
