// Rotary position embedding (Su et al., arXiv 2104.09864) on NVIDIA GPUs: plain pointers and a
// stream.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "coeus/kernels/cuda/element_type.h"

namespace coeus::cuda {

/// [tokens, heads, head_dim] with head_dim contiguous; strides count elements. Out may be x itself.
struct RopeTensor {
  const void* x = nullptr;
  int64_t x_token_stride = 0;
  int64_t x_head_stride = 0;
  void* out = nullptr;
  int64_t out_token_stride = 0;
  int64_t out_head_stride = 0;
  int heads = 0;  ///< 0 for no tensor
};

/// Pair i of each head of a token at position p turns by the angle of table[p, i], in float32,
/// rounded once to `type`.
struct Rope {
  ElementType type = ElementType::kBFloat16;
  /// Which two values make pair i: i and i + head_dim / 2, or 2i and 2i + 1.
  bool halves = false;
  /// -1 turns the other way, which is the gradient.
  float sign = 1;
  int head_dim = 0;  ///< even
  int64_t tokens = 0;
  const float* table = nullptr;  ///< [table_positions, head_dim / 2, 2] of (cos, sin)
  int table_positions = 0;
  const int32_t* positions = nullptr;  ///< [tokens]
  /// Set to 1 when a position lies outside the table, and left alone otherwise; may be null. Such a
  /// token's results are NaN.
  int* bad_position = nullptr;
  /// Turned by the same angles in one launch: queries and keys.
  RopeTensor tensors[2] = {};
};

/// Starts the work on a stream and returns at once. Throws std::runtime_error where CUDA reports an
/// error or head_dim is odd.
void rope(const Rope& work, cudaStream_t stream);

}  // namespace coeus::cuda
