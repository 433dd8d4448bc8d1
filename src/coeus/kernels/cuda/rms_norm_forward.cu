// RMSNorm forward, of x or of the sum of x and a residual. Registers hold a row, so that memory is
// read once.
#include <stdexcept>
#include <type_traits>

#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/rms_norm.h"
#include "coeus/kernels/cuda/rms_norm_rows.cuh"
#include "coeus/kernels/cuda/vectors.cuh"

namespace coeus::cuda {
namespace {

using namespace rms_norm;

/// Most warps of a row in forward.
constexpr int kForwardWarps = 32;

/// x + residual, rounded to T.
template <class T, class R>
__device__ __forceinline__ Vector<T> added(const Vector<T>& x, const Vector<R>& residual) {
  float a[kVectorSize<T>], b[kVectorSize<T>];
  unpack(x, a);
  unpack_first(residual, b);
#pragma unroll
  for (int i = 0; i < kVectorSize<T>; ++i) a[i] += b[i];
  return pack<T>(a);
}

template <class T>
__device__ __forceinline__ float sum_of_squares(const Vector<T>& x) {
  float wide[kVectorSize<T>];
  unpack(x, wide);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kVectorSize<T>; ++i) sum += wide[i] * wide[i];
  return sum;
}

template <class O, class T, class W>
__device__ __forceinline__ Vector<O> normed(const Vector<T>& x, float inverse, const W* weight,
                                            int index, int dim, bool aligned) {
  float wide[kVectorSize<T>], w[kVectorSize<T>];
  unpack(x, wide);
  load_weight(weight, index, dim, aligned, w);
#pragma unroll
  for (int i = 0; i < kVectorSize<T>; ++i) wide[i] = wide[i] * inverse * w[i];
  return pack_first<O>(wide);
}

template <class T, class O, class W, int kLanes, int kVectors, Residual kResidual>
__global__ void __launch_bounds__(kLanes < 32 ? kBlockThreads : 1024)
    forward_kernel(const RmsNormForward work, const Layout layout) {
  using R = std::conditional_t<kResidual == Residual::kOfOut, O, T>;
  constexpr bool kAdd = kResidual != Residual::kNone;
  constexpr int kSize = kVectorSize<T>;
  __shared__ float shared[kForwardWarps];
  const int row_threads = kLanes * layout.row_warps;
  const int slot = static_cast<int>(threadIdx.x) / row_threads;
  const int first = static_cast<int>(threadIdx.x) % row_threads;
  const int64_t row = int64_t{blockIdx.x} * layout.slots + slot;
  const bool exists = row < work.rows;
  const int64_t start = exists ? row * work.dim : 0;
  // A row that does not exist has no columns.
  const int dim = exists ? work.dim : 0;
  const bool aligned = layout.aligned;
  const T* const x_row = static_cast<const T*>(work.x) + start;
  const R* const residual_row = kAdd ? static_cast<const R*>(work.residual) + start : nullptr;
  T* const sum_row = kAdd ? static_cast<T*>(work.sum) + start : nullptr;
  O* const out_row = static_cast<O*>(work.out) + start;
  const W* const weight = static_cast<const W*>(work.weight);
  const int held = row_threads * kVectors;  // vectors of the row that registers hold
  const int vectors = (dim + kSize - 1) / kSize;

  Vector<T> x[kVectors];
  if constexpr (kAdd) {
    Vector<R> residual[kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      x[v] = load_from_row<kSize>(x_row, first + v * row_threads, dim, aligned);
      residual[v] = load_from_row<kSize>(residual_row, first + v * row_threads, dim, aligned);
    }
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      x[v] = added(x[v], residual[v]);
      store_to_row<kSize>(sum_row, first + v * row_threads, dim, aligned, x[v]);
    }
  } else {
#pragma unroll
    for (int v = 0; v < kVectors; ++v)
      x[v] = load_from_row<kSize>(x_row, first + v * row_threads, dim, aligned);
  }
  float squares = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) squares += sum_of_squares(x[v]);
  for (int index = held + first; index < vectors; index += row_threads) {
    Vector<T> more = load_from_row<kSize>(x_row, index, dim, aligned);
    if constexpr (kAdd) {
      more = added(more, load_from_row<kSize>(residual_row, index, dim, aligned));
      store_to_row<kSize>(sum_row, index, dim, aligned, more);
    }
    squares += sum_of_squares(more);
  }
  squares = row_sum<kLanes>(squares, layout.row_warps, shared);
  const float inverse = rsqrtf(squares / static_cast<float>(work.dim) + work.eps);
  if (exists && first == 0) work.inverse_rms[row] = inverse;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int index = first + v * row_threads;
    store_to_row<kSize>(out_row, index, dim, aligned,
                        normed<O>(x[v], inverse, weight, index, dim, aligned));
  }
  // What a thread wrote itself it also sees, and no thread reads another's.
  const T* const normed_row = kAdd ? sum_row : x_row;
  for (int index = held + first; index < vectors; index += row_threads)
    store_to_row<kSize>(out_row, index, dim, aligned,
                        normed<O>(load_from_row<kSize, true>(normed_row, index, dim, aligned),
                                  inverse, weight, index, dim, aligned));
}

ElementType residual_type_of(const RmsNormForward& work) {
  return work.residual_type.value_or(work.type);
}

bool is_aligned(const RmsNormForward& work) {
  return aligned_rows(work, work.x, work.weight, work.sum) &&
         aligned_beside(work, work.out, out_type_of(work)) &&
         aligned_beside(work, work.residual, residual_type_of(work));
}

}  // namespace

void rms_norm_forward(const RmsNormForward& work, cudaStream_t stream) {
  if (work.rows == 0 || work.dim == 0) return;
  const ElementType residual_type = residual_type_of(work);
  if (residual_type != work.type && residual_type != out_type_of(work))
    throw std::runtime_error("RMSNorm takes a residual of its input's type or of its output's");
  with_types(work, [&](auto t, auto o, auto w) {
    using T = decltype(t);
    using O = decltype(o);
    using W = decltype(w);
    // Two vectors a thread only where one warp then holds the row.
    with_layout((work.dim + kVectorSize<T> - 1) / kVectorSize<T>, 1, kForwardWarps,
                [&](auto lanes, auto vectors, Layout layout) {
                  constexpr int kLanes = decltype(lanes)::value;
                  constexpr int kVectors = decltype(vectors)::value;
                  layout.aligned = is_aligned(work);
                  const unsigned blocks = grid((work.rows + layout.slots - 1) / layout.slots);
                  const auto start = [&](auto kernel) {
                    kernel<<<blocks, layout.threads, 0, stream>>>(work, layout);
                  };
                  if (work.residual == nullptr)
                    return start(forward_kernel<T, O, W, kLanes, kVectors, Residual::kNone>);
                  if (residual_type == work.type)
                    return start(forward_kernel<T, O, W, kLanes, kVectors, Residual::kOfX>);
                  if constexpr (!std::is_same_v<T, O>)
                    start(forward_kernel<T, O, W, kLanes, kVectors, Residual::kOfOut>);
                });
  });
  check(cudaGetLastError(), "starting RMSNorm's forward");
}

}  // namespace coeus::cuda
