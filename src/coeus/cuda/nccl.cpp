#include <c10/cuda/CUDAGuard.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "coeus/cuda/library.h"

namespace coeus {

c10::intrusive_ptr<c10d::Backend> nccl_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                               int rank, int size, bool joins_all,
                                               const at::Device& device) {
  const c10::cuda::CUDAGuard guard(device);
  auto options = c10d::ProcessGroupNCCL::Options::create();
  // The job's own watch finds a rank that does not come, and says which; NCCL would end the
  // process.
  options->timeout = std::chrono::hours(24);
  auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, std::move(options));
  backend->setBoundDeviceId(device);
  // NCCL would do it with the first collective, and make all wait for each other: another order of
  // first collectives on another rank turns that into a circle.
  if (joins_all) backend->eagerConnectSingleDevice(device);
  return backend;
}

}  // namespace coeus
