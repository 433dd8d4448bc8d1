#include "coeus/kernels/cuda/swiglu.h"

#include <algorithm>
#include <climits>
#include <stdexcept>

#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/vectors.cuh"

namespace coeus::cuda {
namespace {

constexpr int kThreads = 256;
/// Vectors of each input that a thread reads before it works on them.
constexpr int kVectors = 2;

/// To the precision of T: elements of 16 bits come so fast that the exact division would hold
/// memory up.
template <class T>
__device__ __forceinline__ float sigmoid(float x) {
  if constexpr (sizeof(T) == 4)
    return 1.F / (1.F + expf(-x));
  else
    return __fdividef(1.F, 1.F + exp2_fast(-kLog2E * x));
}

template <class T>
struct Forward {
  static constexpr int kInputs = 2;
  static constexpr int kOutputs = 1;
  const T* inputs[kInputs];  ///< gate, up
  T* outputs[kOutputs];

  __device__ static __forceinline__ void apply(const float (&in)[kInputs], float (&out)[kOutputs]) {
    out[0] = in[0] * sigmoid<T>(in[0]) * in[1];
  }
};

template <class T>
struct Backward {
  static constexpr int kInputs = 3;
  static constexpr int kOutputs = 2;
  const T* inputs[kInputs];  ///< grad_out, gate, up
  T* outputs[kOutputs];      ///< grad_gate, grad_up

  __device__ static __forceinline__ void apply(const float (&in)[kInputs], float (&out)[kOutputs]) {
    const float s = sigmoid<T>(in[1]);
    const float silu = in[1] * s;
    out[0] = in[0] * in[2] * (s + silu * (1.F - s));
    out[1] = in[0] * silu;
  }
};

/// Elements [0, vectors * kVectorSize) 16 bytes at a time, the rest one by one.
template <class T, class Work>
__global__ void __launch_bounds__(kThreads)
    elementwise_kernel(const Work work, int64_t vectors, int64_t n) {
  constexpr int kSize = kVectorSize<T>;
  const int64_t first = int64_t{blockIdx.x} * kThreads * kVectors + threadIdx.x;
  Vector<T> in[kVectors][Work::kInputs];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int64_t index = first + v * kThreads;
    if (index < vectors) {
#pragma unroll
      for (int i = 0; i < Work::kInputs; ++i) in[v][i] = load_once(work.inputs[i] + index * kSize);
    }
  }
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int64_t index = first + v * kThreads;
    if (index >= vectors) continue;
    float wide_in[Work::kInputs][kSize], wide_out[Work::kOutputs][kSize];
#pragma unroll
    for (int i = 0; i < Work::kInputs; ++i) unpack(in[v][i], wide_in[i]);
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      float one[Work::kInputs], result[Work::kOutputs];
#pragma unroll
      for (int i = 0; i < Work::kInputs; ++i) one[i] = wide_in[i][e];
      Work::apply(one, result);
#pragma unroll
      for (int i = 0; i < Work::kOutputs; ++i) wide_out[i][e] = result[i];
    }
#pragma unroll
    for (int i = 0; i < Work::kOutputs; ++i)
      store(work.outputs[i] + index * kSize, pack<T>(wide_out[i]));
  }
  for (int64_t at = vectors * kSize + int64_t{blockIdx.x} * kThreads + threadIdx.x; at < n;
       at += int64_t{gridDim.x} * kThreads) {
    float one[Work::kInputs], result[Work::kOutputs];
#pragma unroll
    for (int i = 0; i < Work::kInputs; ++i) one[i] = as_float(work.inputs[i][at]);
    Work::apply(one, result);
#pragma unroll
    for (int i = 0; i < Work::kOutputs; ++i) work.outputs[i][at] = rounded<T>(result[i]);
  }
}

template <class T, class Work>
void start(const Work& work, bool aligned, int64_t n, cudaStream_t stream) {
  const int64_t vectors = aligned ? n / kVectorSize<T> : 0;
  constexpr int64_t kBlockVectors = int64_t{kThreads} * kVectors;
  const int64_t blocks = aligned
                             ? std::max<int64_t>(1, (vectors + kBlockVectors - 1) / kBlockVectors)
                             : std::min<int64_t>((n + kThreads - 1) / kThreads, 16384);
  if (blocks > INT_MAX) throw std::runtime_error("swiglu takes fewer than 2^31 blocks of elements");
  elementwise_kernel<T><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(work, vectors, n);
}

}  // namespace

void swiglu_forward(const SwigluForward& work, cudaStream_t stream) {
  if (work.n == 0) return;
  with_type(work.type, [&](auto t) {
    using T = decltype(t);
    start<T>(Forward<T>{{static_cast<const T*>(work.gate), static_cast<const T*>(work.up)},
                        {static_cast<T*>(work.out)}},
             aligned_to_vectors(work.gate, work.up, work.out), work.n, stream);
  });
  check(cudaGetLastError(), "starting swiglu's forward");
}

void swiglu_backward(const SwigluBackward& work, cudaStream_t stream) {
  if (work.n == 0) return;
  with_type(work.type, [&](auto t) {
    using T = decltype(t);
    start<T>(Backward<T>{{static_cast<const T*>(work.grad_out), static_cast<const T*>(work.gate),
                          static_cast<const T*>(work.up)},
                         {static_cast<T*>(work.grad_gate), static_cast<T*>(work.grad_up)}},
             aligned_to_vectors(work.grad_out, work.gate, work.up, work.grad_gate, work.grad_up),
             work.n, stream);
  });
  check(cudaGetLastError(), "starting swiglu's backward");
}

}  // namespace coeus::cuda
