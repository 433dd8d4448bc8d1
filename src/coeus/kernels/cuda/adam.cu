#include "coeus/kernels/cuda/adam.h"

#include <cmath>
#include <type_traits>

#include "coeus/kernels/cuda/tensor_list.cuh"
#include "coeus/kernels/cuda/vectors.cuh"

namespace coeus::cuda {
namespace {

constexpr int kThreads = 256;

/// What all elements of an update have in common.
struct Coefficients {
  float scale = 1;  ///< of gradients
  float keep = 1;   ///< of parameters: the decoupled decay
  float decay = 0;  ///< of parameters into gradients: Adam's
  float beta1 = 0, beta2 = 0;
  float step_size = 0;  ///< lr / (1 - beta1^step)
  float bias2 = 1;      ///< sqrt(1 - beta2^step)
  float inverse_bias2 = 1;
  float eps = 0;
};

__device__ Coefficients coefficients_of(const AdamUpdate& update) {
  Coefficients c;
  const double step = *update.step;
  if (update.gradient_scale != nullptr) c.scale = *update.gradient_scale;
  c.keep = update.decoupled ? static_cast<float>(1 - update.lr * update.weight_decay) : 1.F;
  c.decay = update.decoupled ? 0.F : static_cast<float>(update.weight_decay);
  c.beta1 = static_cast<float>(update.beta1);
  c.beta2 = static_cast<float>(update.beta2);
  c.step_size = static_cast<float>(update.lr / (1 - pow(update.beta1, step)));
  c.bias2 = static_cast<float>(sqrt(1 - pow(update.beta2, step)));
  c.inverse_bias2 = 1 / c.bias2;
  c.eps = static_cast<float>(update.eps);
  return c;
}

/// exp_avg / (sqrt(exp_avg_sq) / bias2 + eps). What is rounded to a narrow T is computed by the
/// GPU's approximations, good to 2^-22, since exact ones take longer than the memory does.
template <class T>
__device__ __forceinline__ float normalized(const Coefficients& c, float exp_avg,
                                            float exp_avg_sq) {
  if constexpr (std::is_same_v<T, float>) {
    return exp_avg / (sqrtf(exp_avg_sq) / c.bias2 + c.eps);
  } else {
    float root;
    asm("sqrt.approx.f32 %0, %1;" : "=f"(root) : "f"(exp_avg_sq));
    return __fdividef(exp_avg, fmaf(root, c.inverse_bias2, c.eps));
  }
}

template <class T>
__device__ __forceinline__ void update_element(const Coefficients& c, float gradient,
                                               float& parameter, float& exp_avg,
                                               float& exp_avg_sq) {
  gradient = fmaf(c.decay, parameter, gradient * c.scale);
  exp_avg = c.beta1 * exp_avg + (1 - c.beta1) * gradient;
  exp_avg_sq = c.beta2 * exp_avg_sq + (1 - c.beta2) * gradient * gradient;
  parameter = parameter * c.keep - c.step_size * normalized<T>(c, exp_avg, exp_avg_sq);
}

enum { kParameter, kGradient, kExpAvg, kExpAvgSq, kArrays };

template <class T>
__global__ void __launch_bounds__(kThreads)
    adam_kernel(const AdamUpdate update, const __grid_constant__ TensorList<kArrays> list) {
  if (update.skip != nullptr && *update.skip != 0) return;
  __shared__ Coefficients shared;
  if (threadIdx.x == 0) shared = coefficients_of(update);
  __syncthreads();
  const Coefficients c = shared;
  const Piece<kArrays> piece(list);
  T* const parameter = static_cast<T*>(list.pointers[piece.tensor][kParameter]);
  const T* const gradient = static_cast<const T*>(list.pointers[piece.tensor][kGradient]);
  T* const exp_avg = static_cast<T*>(list.pointers[piece.tensor][kExpAvg]);
  T* const exp_avg_sq = static_cast<T*>(list.pointers[piece.tensor][kExpAvgSq]);

  constexpr int kSize = kVectorSize<T>;
  const bool aligned =
      ((reinterpret_cast<uintptr_t>(parameter) | reinterpret_cast<uintptr_t>(gradient) |
        reinterpret_cast<uintptr_t>(exp_avg) | reinterpret_cast<uintptr_t>(exp_avg_sq)) %
       16) == 0;
  // Pieces begin at multiples of a vector.
  const int64_t in_vectors = aligned ? piece.end - (piece.end - piece.begin) % kSize : piece.begin;
  for (int64_t i = piece.begin + threadIdx.x * kSize; i < in_vectors; i += kThreads * kSize) {
    float p[kSize], g[kSize], m[kSize], v[kSize];
    const Vector<T> packed_g = load_once(gradient + i);
    const Vector<T> packed_p = load(parameter + i);
    const Vector<T> packed_m = load_once(exp_avg + i);
    const Vector<T> packed_v = load_once(exp_avg_sq + i);
    unpack(packed_p, p);
    unpack(packed_g, g);
    unpack(packed_m, m);
    unpack(packed_v, v);
#pragma unroll
    for (int e = 0; e < kSize; ++e) update_element<T>(c, g[e], p[e], m[e], v[e]);
    store(parameter + i, pack<T>(p));
    store_once(exp_avg + i, pack<T>(m));
    store_once(exp_avg_sq + i, pack<T>(v));
  }
  for (int64_t i = in_vectors + threadIdx.x; i < piece.end; i += kThreads) {
    float p = as_float(parameter[i]), m = as_float(exp_avg[i]), v = as_float(exp_avg_sq[i]);
    update_element<T>(c, as_float(gradient[i]), p, m, v);
    parameter[i] = rounded<T>(p);
    exp_avg[i] = rounded<T>(m);
    exp_avg_sq[i] = rounded<T>(v);
  }
}

/// The sum over the block's threads, in thread 0.
__device__ float sum_over_block(float x) {
  __shared__ float of_warps[kThreads / 32];
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_down_sync(~0U, x, offset);
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = x;
  __syncthreads();
  if (threadIdx.x >= 32) return 0;
  x = threadIdx.x < kThreads / 32 ? of_warps[threadIdx.x] : 0.F;
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_down_sync(~0U, x, offset);
  return x;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    squares_kernel(const __grid_constant__ TensorList<1> list, double* partial) {
  const Piece<1> piece(list);
  const T* const values = static_cast<const T*>(list.pointers[piece.tensor][0]);
  constexpr int kSize = kVectorSize<T>;
  const bool aligned = reinterpret_cast<uintptr_t>(values) % 16 == 0;
  const int64_t in_vectors = aligned ? piece.end - (piece.end - piece.begin) % kSize : piece.begin;
  float sum = 0;
  for (int64_t i = piece.begin + threadIdx.x * kSize; i < in_vectors; i += kThreads * kSize) {
    float x[kSize];
    unpack(load(values + i), x);
#pragma unroll
    for (int e = 0; e < kSize; ++e) sum = fmaf(x[e], x[e], sum);
  }
  for (int64_t i = in_vectors + threadIdx.x; i < piece.end; i += kThreads) {
    const float x = as_float(values[i]);
    sum = fmaf(x, x, sum);
  }
  sum = sum_over_block(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// One thread block a tensor: threads take pieces in turn, then thread 0 adds theirs up in order.
__global__ void __launch_bounds__(kThreads)
    sum_pieces_kernel(const __grid_constant__ TensorList<1> list, const double* partial,
                      double* sums) {
  __shared__ double of_threads[kThreads];
  const int tensor = static_cast<int>(blockIdx.x);
  double sum = 0;
  for (int i = list.first_block[tensor] + static_cast<int>(threadIdx.x);
       i < list.first_block[tensor + 1]; i += kThreads)
    sum += partial[i];
  of_threads[threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  sum = 0;
  for (const double of_thread : of_threads) sum += of_thread;
  sums[list.number[tensor]] = sum;
}

}  // namespace

void adam(const AdamUpdate& update, std::span<const AdamTensor> tensors, cudaStream_t stream) {
  for_each_list<kArrays>(
      tensors,
      [](const AdamTensor& tensor, void** pointers) {
        pointers[kParameter] = tensor.parameter;
        pointers[kGradient] = const_cast<void*>(tensor.gradient);
        pointers[kExpAvg] = tensor.exp_avg;
        pointers[kExpAvgSq] = tensor.exp_avg_sq;
      },
      [&](const TensorList<kArrays>& list, int blocks) {
        with_type(update.type, [&](auto t) {
          adam_kernel<decltype(t)>
              <<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(update, list);
        });
        check(cudaGetLastError(), "starting Adam's update");
      });
}

int64_t squared_norm_pieces(std::span<const SquaredTensor> tensors) {
  int64_t pieces = 0;
  for (const SquaredTensor& tensor : tensors)
    pieces += (tensor.size + TensorList<1>::kPiece - 1) / TensorList<1>::kPiece;
  return pieces;
}

void squared_norms(ElementType type, std::span<const SquaredTensor> tensors, double* partial,
                   double* sums, cudaStream_t stream) {
  check(cudaMemsetAsync(sums, 0, tensors.size() * sizeof(double), stream), "clearing sums");
  for_each_list<1>(
      tensors,
      [](const SquaredTensor& tensor, void** pointers) {
        pointers[0] = const_cast<void*>(tensor.values);
      },
      [&](const TensorList<1>& list, int blocks) {
        with_type(type, [&](auto t) {
          squares_kernel<decltype(t)>
              <<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(list, partial);
        });
        sum_pieces_kernel<<<static_cast<unsigned>(list.count), kThreads, 0, stream>>>(list, partial,
                                                                                      sums);
        check(cudaGetLastError(), "starting squared norms");
        partial += blocks;
      });
}

}  // namespace coeus::cuda
