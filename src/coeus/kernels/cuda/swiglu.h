// The gated activation of SwiGLU (Shazeer, arXiv 2002.05202) on NVIDIA GPUs: plain pointers and a
// stream.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "coeus/kernels/cuda/element_type.h"

namespace coeus::cuda {

/// out = silu(gate) * up, n elements of each, in float32 and rounded once to `type`. Out may be
/// gate or up.
struct SwigluForward {
  ElementType type = ElementType::kBFloat16;
  const void* gate = nullptr;
  const void* up = nullptr;
  void* out = nullptr;
  int64_t n = 0;
};

/// Its gradients, silu(gate) taken anew, in float32 and each rounded once. They may lie over any of
/// the inputs.
struct SwigluBackward {
  ElementType type = ElementType::kBFloat16;
  const void* grad_out = nullptr;
  const void* gate = nullptr;
  const void* up = nullptr;
  void* grad_gate = nullptr;
  void* grad_up = nullptr;
  int64_t n = 0;
};

/// Start the work on a stream; they return at once. Throw std::runtime_error where CUDA reports an
/// error.
void swiglu_forward(const SwigluForward& work, cudaStream_t stream);
void swiglu_backward(const SwigluBackward& work, cudaStream_t stream);

}  // namespace coeus::cuda
