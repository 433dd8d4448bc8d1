// CUDA, loaded when a job asks for it: the program itself links none of it, and so runs without.
#pragma once

#include <c10/core/Device.h>
#include <c10/util/intrusive_ptr.h>

#include <functional>
#include <string>

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace coeus {

class DeviceAttention;
class FusedOperations;

/// What libcoeus_cuda.so brings along; its function coeus_cuda_library gives it.
struct CudaLibrary {
  DeviceAttention* attention = nullptr;   ///< of CUDA tensors
  FusedOperations* operations = nullptr;  ///< likewise
  std::string (*device_name)(int device) = nullptr;
  /// Has `done` called, in a thread of CUDA's, once the device has done what this thread's stream
  /// of it holds so far. What the stream gets later waits for `done`, which may not call CUDA.
  void (*when_done)(const c10::Device& device, std::function<void()> done) = nullptr;
  /// A backend over NCCL, as comm/parallel_groups.h wants it, of a rank that computes on `device`.
  /// Null where coeus was built without NCCL.
  c10::intrusive_ptr<c10d::Backend> (*nccl_backend)(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int size, bool joins_all,
                                                    const c10::Device& device) = nullptr;
};

/// Whether there is a CUDA driver, which loads nothing else.
bool has_cuda_driver();

/// Why CUDA cannot be used here: no driver, a LibTorch without CUDA, no device. Empty when it can;
/// then LibTorch's CUDA part and libcoeus_cuda.so have been loaded (about a second, once). The
/// latter lies beside the file that holds this code (the program, or libcoeus_operators.so), in
/// ../lib or where the environment's COEUS_CUDA_LIBRARY says.
const std::string& load_cuda();

/// What it brought along. Only after load_cuda gave no reason against it.
const CudaLibrary& cuda_library();

}  // namespace coeus
