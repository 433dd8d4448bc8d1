#include "tensor.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/vectors.cuh"
#include "coeus/kernels/cuda/with_type.cuh"
#include "grid.h"

namespace coeus::cuda {

namespace {

constexpr int64_t kTokenGap = 8;
constexpr int64_t kRowGap = 64;

__device__ void round_to(float x, float& out) { out = x; }
__device__ void round_to(float x, __nv_bfloat16& out) { out = __float2bfloat16_rn(x); }
__device__ void round_to(float x, __half& out) { out = __float2half_rn(x); }

/// The finaliser of splitmix64.
__device__ uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

template <class T>
__global__ void fill_kernel(Tensor x, float* exact, uint64_t seed) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < x.count(); i += step) {
    const uint64_t bits = mix(mix(seed) + static_cast<uint64_t>(i) * 0x9E3779B97F4A7C15ull);
    const float radius = static_cast<float>((bits >> 40) + 1) * 0x1p-24f;
    const float angle = static_cast<float>((bits & 0xFFFFFF)) * 0x1p-24f;
    T& value = static_cast<T*>(x.view.data)[x.place_of(i / x.dim) + i % x.dim];
    round_to(sqrtf(-2 * logf(radius)) * cospif(2 * angle), value);
    if (exact != nullptr) exact[i] = as_float(value);
  }
}

}  // namespace

const char* name_of(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return "fp32";
    case ElementType::kBFloat16:
      return "bf16";
    case ElementType::kFloat16:
      return "fp16";
  }
  return "?";
}

Tensor make_tensor(Arena& arena, ElementType type, int batch, int tokens, int heads, int dim,
                   Layout layout) {
  Tensor x{{}, type, layout, batch, tokens, heads, dim};
  if (layout == Layout::kHeads) {
    x.view.token_stride = dim;
    x.view.head_stride = int64_t{tokens} * dim;
    x.view.row_stride = heads * x.view.head_stride;
  } else {
    const bool is_apart = layout == Layout::kApart;
    x.view.head_stride = dim;
    x.view.token_stride = int64_t{heads} * dim + (is_apart ? kTokenGap : 0);
    x.view.row_stride = tokens * x.view.token_stride + (is_apart ? kRowGap : 0);
  }
  x.view.data = arena.take(x.stored() * size_of(type));
  return x;
}

void fill(const Tensor& x, float* exact, uint64_t seed, cudaStream_t stream) {
  with_type(x.type, [&](auto zero) {
    fill_kernel<decltype(zero)><<<blocks_for(x.count()), kThreads, 0, stream>>>(x, exact, seed);
  });
  check(cudaGetLastError(), "fill_kernel");
}

}  // namespace coeus::cuda
