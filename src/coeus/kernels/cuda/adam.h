// Adam and AdamW on NVIDIA GPUs, over all parameters at once: plain pointers and a stream.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "coeus/kernels/cuda/element_type.h"

namespace coeus::cuda {

/// A parameter with its gradient and state, `size` elements each of AdamUpdate::type.
struct AdamTensor {
  void* parameter = nullptr;
  const void* gradient = nullptr;
  void* exp_avg = nullptr;
  void* exp_avg_sq = nullptr;
  int64_t size = 0;
};

/// One update of Adam (Kingma and Ba, arXiv 1412.6980) or, where `decoupled`, of AdamW (Loshchilov
/// and Hutter, arXiv 1711.05101), computed in float32 and rounded once to `type`.
struct AdamUpdate {
  ElementType type = ElementType::kFloat32;
  bool decoupled = true;
  double lr = 0, beta1 = 0, beta2 = 0, weight_decay = 0, eps = 0;
  const float* step = nullptr;            ///< the number of updates with this one, on the GPU
  const float* gradient_scale = nullptr;  ///< what gradients are multiplied by, there; null: 1
  const float* skip = nullptr;            ///< there; not 0: nothing is changed; null: 0
};

/// Starts the work on a stream and returns at once. Throws std::runtime_error where CUDA reports an
/// error.
void adam(const AdamUpdate& update, std::span<const AdamTensor> tensors, cudaStream_t stream);

/// Of one tensor's squares.
struct SquaredTensor {
  const void* values = nullptr;
  int64_t size = 0;
};

/// sums[i] = the sum of squares of tensor i, elements of `type`: each piece of 16,384 in float32,
/// pieces in float64, in the same order in every run. partial: float64 [squared_norm_pieces()].
void squared_norms(ElementType type, std::span<const SquaredTensor> tensors, double* partial,
                   double* sums, cudaStream_t stream);
int64_t squared_norm_pieces(std::span<const SquaredTensor> tensors);

}  // namespace coeus::cuda
