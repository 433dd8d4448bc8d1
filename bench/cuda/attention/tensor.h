// Tensors on the device: how they lie in memory, and random values for them.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "arena.h"
#include "coeus/kernels/cuda/attention.h"
#include "coeus/kernels/cuda/element_type.h"

namespace coeus::cuda {

/// How a tensor [batch, tokens, heads, dim] lies in memory.
enum class Layout {
  kTokens,  ///< in that order
  kHeads,   ///< as [batch, heads, tokens, dim]
  kApart,   ///< with a gap after each token and each row, as in a slice of something larger
};

/// As cases are named by it.
const char* name_of(ElementType type);

/// A tensor [batch, tokens, heads, dim] in an arena.
struct Tensor {
  AttentionTensor view;
  ElementType type = ElementType::kFloat32;
  Layout layout = Layout::kTokens;
  int batch = 0;
  int tokens = 0;
  int heads = 0;
  int dim = 0;

  __host__ __device__ int64_t rows() const { return int64_t{batch} * tokens * heads; }
  __host__ __device__ int64_t count() const { return rows() * dim; }
  /// Elements of memory, with gaps.
  __host__ __device__ int64_t stored() const { return view.row_stride * batch; }
  /// Where row `row` of [batch, tokens, heads] begins.
  __host__ __device__ int64_t place_of(int64_t row) const {
    const int64_t token = row / heads;
    return token / tokens * view.row_stride + token % tokens * view.token_stride +
           row % heads * view.head_stride;
  }
};

/// Takes the memory for it, gaps included.
Tensor make_tensor(Arena& arena, ElementType type, int batch, int tokens, int heads, int dim,
                   Layout layout);

/// Standard normal values, rounded to the tensor's type; `exact`, unless null, gets them as floats
/// in the order [batch, tokens, heads, dim].
void fill(const Tensor& x, float* exact, uint64_t seed, cudaStream_t stream);

}  // namespace coeus::cuda
