// What libcoeus_cuda.so holds: the part of coeus that only a machine with a CUDA driver loads
// (ops/cuda_library.h).
#pragma once

#include "coeus/ops/cuda_library.h"
#include "coeus/ops/device_attention.h"
#include "coeus/ops/fused_operations.h"

namespace coeus {

/// Attention and fused operations on CUDA tensors.
DeviceAttention& cuda_attention();
FusedOperations& cuda_fused_operations();

/// See CudaLibrary.
c10::intrusive_ptr<c10d::Backend> nccl_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                               int rank, int size, bool joins_all,
                                               const at::Device& device);

}  // namespace coeus

/// What the program looks up in the library.
extern "C" const coeus::CudaLibrary* coeus_cuda_library();
