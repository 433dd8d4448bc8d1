#include "coeus/cuda/library.h"

#include <cuda_runtime_api.h>

#include "coeus/kernels/cuda/check.h"

namespace {

std::string device_name(int device) {
  cudaDeviceProp properties;
  coeus::cuda::check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  return properties.name;
}

}  // namespace

extern "C" const coeus::CudaLibrary* coeus_cuda_library() {
#ifdef COEUS_NCCL
  constexpr auto nccl_backend = &coeus::nccl_backend;
#else
  constexpr std::nullptr_t nccl_backend = nullptr;
#endif
  static const coeus::CudaLibrary library = {
      &coeus::cuda_attention(), &coeus::cuda_fused_operations(), &device_name, nccl_backend};
  return &library;
}
