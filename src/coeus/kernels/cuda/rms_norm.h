// RMSNorm (Zhang and Sennrich, arXiv 1910.07467) on NVIDIA GPUs: plain pointers and a stream.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <optional>

#include "coeus/kernels/cuda/element_type.h"

namespace coeus::cuda {

/// out = x / sqrt(mean(x^2) + eps) * weight, computed in float32 and rounded once to `out_type`;
/// with a residual, sum = x + residual, rounded to `type`, and out is the norm of that. Rows are
/// contiguous and follow each other. `out_type` is `type`, or narrower than a `type` of kFloat32:
/// for a float32 residual stream around matrix products of fewer bits. The residual has either
/// type. The sum and out may each be x or the residual where the types are the same; else they must
/// overlap nothing.
struct RmsNormForward {
  ElementType type = ElementType::kBFloat16;  ///< of x and the sum
  std::optional<ElementType> out_type;        ///< of out; null: `type`
  std::optional<ElementType> residual_type;   ///< of the residual; null: `type`
  /// Used as it is: kFloat32, or `type` where out_type is that too.
  ElementType weight_type = ElementType::kBFloat16;
  const void* x = nullptr;         ///< [rows, dim]
  const void* residual = nullptr;  ///< [rows, dim], or null
  const void* weight = nullptr;    ///< [dim]
  void* sum = nullptr;             ///< [rows, dim], with a residual
  void* out = nullptr;             ///< [rows, dim]
  float* inverse_rms = nullptr;    ///< [rows], 1 / sqrt(mean(x^2) + eps)
  int64_t rows = 0;
  int dim = 0;
  float eps = 0;
};

/// The gradients of RmsNormForward, in float32; x is what was normed (its sum, with a residual).
/// grad_sum, where not null, is added to grad_x before that is rounded: the gradient that the sum
/// has from the residual stream. grad_x is the residual's gradient as well; for one that is
/// narrower than the sum, grad_residual is grad_x rounded to that, given a grad_sum. grad_x may be
/// grad_sum or x, and grad_out where its type is grad_x's; else it must not overlap grad_out.
/// grad_residual must overlap nothing.
struct RmsNormBackward {
  ElementType type = ElementType::kBFloat16;         ///< of x, grad_sum and grad_x
  std::optional<ElementType> out_type;               ///< of grad_out and grad_residual
  ElementType weight_type = ElementType::kBFloat16;  ///< as in RmsNormForward
  const void* grad_out = nullptr;                    ///< [rows, dim]
  const void* grad_sum = nullptr;                    ///< [rows, dim], or null
  const void* x = nullptr;                           ///< [rows, dim]
  const void* weight = nullptr;                      ///< [dim]
  const float* inverse_rms = nullptr;                ///< [rows]
  void* grad_x = nullptr;                            ///< [rows, dim]
  void* grad_residual = nullptr;                     ///< [rows, dim], or null for none
  float* grad_weight = nullptr;                      ///< [dim], or null for none
  /// rms_norm_backward_scratch_bytes, aligned to 16; not read or written without grad_weight.
  void* scratch = nullptr;
  int64_t rows = 0;
  int dim = 0;
};

/// Start the work on a stream; they return at once. The weight's gradient is summed without
/// atomics, in an order that the work alone fixes: alike in every run and on every GPU. Backward is
/// fast where addresses and rows are multiples of 16 bytes (of what is narrower than x: of 8),
/// and for dims up to 16384 (13312 where all is float32, with grad_sum); else it reads its inputs
/// twice. Throw std::runtime_error where CUDA reports an error or the types are not taken together.
void rms_norm_forward(const RmsNormForward& work, cudaStream_t stream);
void rms_norm_backward(const RmsNormBackward& work, cudaStream_t stream);
/// Enough for each out_type.
int64_t rms_norm_backward_scratch_bytes(ElementType type, int64_t rows, int dim);

}  // namespace coeus::cuda
