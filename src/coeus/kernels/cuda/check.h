// Errors of CUDA as exceptions, and what a device is.
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

/// An attribute of the current device.
inline int device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), "asking for the CUDA device");
  check(cudaDeviceGetAttribute(&value, attribute, device), "asking for a CUDA device's attribute");
  return value;
}

}  // namespace coeus::cuda
