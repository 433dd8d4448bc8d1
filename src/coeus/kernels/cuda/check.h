// Errors of CUDA as exceptions.
#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace coeus::cuda {

/// Throws std::runtime_error, which names `what` failed, unless the call succeeded.
inline void check(cudaError_t result, const char* what) {
  if (result != cudaSuccess)
    throw std::runtime_error(std::string(what) + " failed: " + cudaGetErrorString(result));
}

}  // namespace coeus::cuda
