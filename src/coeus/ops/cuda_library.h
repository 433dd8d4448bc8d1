// CUDA, loaded when a job asks for it: the program itself links none of it, and so runs without.
#pragma once

#include <string>

namespace coeus {

class DeviceAttention;
class FusedOperations;

/// What libcoeus_cuda.so brings along; its function coeus_cuda_library gives it.
struct CudaLibrary {
  DeviceAttention* attention = nullptr;   ///< of CUDA tensors
  FusedOperations* operations = nullptr;  ///< likewise
  std::string (*device_name)(int device) = nullptr;
};

/// Whether there is a CUDA driver, which loads nothing else.
bool has_cuda_driver();

/// Why CUDA cannot be used here: no driver, a LibTorch without CUDA, no device. Empty when it can;
/// then LibTorch's CUDA part and libcoeus_cuda.so have been loaded (about a second, once). The
/// latter lies beside the program, in ../lib or where the environment's COEUS_CUDA_LIBRARY says.
const std::string& load_cuda();

/// The name of a CUDA device ("NVIDIA H200"). Only after load_cuda gave no reason against it.
std::string cuda_device_name(int device);

}  // namespace coeus
