#include "coeus/cuda/library.h"

#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <functional>
#include <memory>

#include "coeus/kernels/cuda/check.h"

namespace {

std::string device_name(int device) {
  cudaDeviceProp properties;
  coeus::cuda::check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  return properties.name;
}

void when_done(const c10::Device& device, std::function<void()> done) {
  auto call = std::make_unique<std::function<void()>>(std::move(done));
  const auto run = [](void* called) {
    const std::unique_ptr<std::function<void()>> done(static_cast<std::function<void()>*>(called));
    (*done)();
  };
  coeus::cuda::check(
      cudaLaunchHostFunc(c10::cuda::getCurrentCUDAStream(device.index()).stream(), run, call.get()),
      "cudaLaunchHostFunc");
  call.release();
}

}  // namespace

extern "C" const coeus::CudaLibrary* coeus_cuda_library() {
#ifdef COEUS_NCCL
  constexpr auto nccl_backend = &coeus::nccl_backend;
#else
  constexpr std::nullptr_t nccl_backend = nullptr;
#endif
  static const coeus::CudaLibrary library = {&coeus::cuda_attention(),
                                             &coeus::cuda_fused_operations(), &device_name,
                                             &when_done, nccl_backend};
  return &library;
}
