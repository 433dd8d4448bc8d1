// Cross entropy, a block a row. Forward takes the largest logit and the sum of exponentials in one
// pass (Milakov and Gimelshein, arXiv 1805.02867), in powers of two: the exponent x * log2(e) -
// offset is one fused operation and 2^x one instruction.
#include "coeus/kernels/cuda/cross_entropy.h"

#include <algorithm>
#include <climits>
#include <stdexcept>

#include "coeus/base/ignored_label.h"
#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/vectors.cuh"

namespace coeus::cuda {
namespace {

constexpr int kMostThreads = 512;
/// Of forward_backward_kernel, for rows of which a multiprocessor keeps only one.
constexpr int kLongRowThreads = 1024;
/// Vectors that a thread reads before it works on them.
constexpr int kBatch = 4;
/// What the largest logit is at least taken for, so that a row may begin with -inf: -inf less -inf
/// is no number.
constexpr float kLowest = -1.5e38F;

/// Where a row's vectors lie: after `head` elements that come before the first address that is a
/// multiple of 16.
struct Span {
  int head;
  int vectors;
  int tail;  ///< the first element after the vectors
};

template <class T>
__device__ __forceinline__ Span span_of(const T* row, int vocab, bool vectors) {
  constexpr int kSize = kVectorSize<T>;
  if (!vectors) return {vocab, 0, vocab};
  const int past = static_cast<int>(reinterpret_cast<uintptr_t>(row) % 16 / sizeof(T));
  const int head = min(vocab, (kSize - past) % kSize);
  const int count = (vocab - head) / kSize;
  return {head, count, head + count * kSize};
}

/// Calls run(element) for the elements of a row outside its vectors that are this thread's.
template <class Run>
__device__ __forceinline__ void for_own_single_elements(const Span& span, int vocab, Run run) {
  const int threads = static_cast<int>(blockDim.x);
  for (int i = static_cast<int>(threadIdx.x); i < span.head; i += threads) run(i);
  for (int i = span.tail + static_cast<int>(threadIdx.x); i < vocab; i += threads) run(i);
}

/// sum * 2^offset is a sum of exponentials.
struct PowerSum {
  float offset = kLowest * kLog2E;
  float sum = 0;

  /// Adds exponentials.
  template <int kCount>
  __device__ __forceinline__ void add(const float (&x)[kCount]) {
    float largest = x[0];
#pragma unroll
    for (int i = 1; i < kCount; ++i) largest = fmaxf(largest, x[i]);
    const float raised = fmaxf(offset, largest * kLog2E);
    // Several sums, for additions that wait for each other would be slow.
    constexpr int kSums = kCount < 4 ? kCount : 4;
    float sums[kSums] = {};
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[i % kSums] += exp2_fast(fmaf(x[i], kLog2E, -raised));
    sum *= exp2_fast(offset - raised);
#pragma unroll
    for (int i = 0; i < kSums; ++i) sum += sums[i];
    offset = raised;
  }

  __device__ __forceinline__ void add(const PowerSum& other) {
    const float raised = fmaxf(offset, other.offset);
    sum = sum * exp2_fast(offset - raised) + other.sum * exp2_fast(other.offset - raised);
    offset = raised;
  }

  __device__ __forceinline__ float log_sum_exp() const { return (offset + log2f(sum)) * kLn2; }
};

__device__ __forceinline__ PowerSum across_lanes(PowerSum sum) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    PowerSum other;
    other.offset = __shfl_xor_sync(0xffffffffU, sum.offset, lanes);
    other.sum = __shfl_xor_sync(0xffffffffU, sum.sum, lanes);
    sum.add(other);
  }
  return sum;
}

/// The sum over all threads of a block, the same in each.
__device__ __forceinline__ PowerSum across_block(PowerSum sum) {
  __shared__ float2 warps[32];
  sum = across_lanes(sum);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane == 0) warps[threadIdx.x / 32] = {sum.offset, sum.sum};
  __syncthreads();
  PowerSum all;
  if (lane < static_cast<int>(blockDim.x) / 32) {
    all.offset = warps[lane].x;
    all.sum = warps[lane].y;
  }
  return across_lanes(all);
}

/// A vector of -inf, which adds nothing to a sum of exponentials.
template <class T>
__device__ __forceinline__ Vector<T> nothing() {
  const uint32_t one = bits_of(rounded<T>(-INFINITY));
  const uint32_t word = sizeof(T) == 4 ? one : one << 16 | one;
  return {{word, word, word, word}};
}

/// A vector that is read once, or again later: after the first read the caches should drop the
/// former first.
template <class T>
__device__ __forceinline__ Vector<T> load_kept_or_not(const T* from, bool again) {
  return again ? as_vector<T>(__ldcg(reinterpret_cast<const uint4*>(from))) : load_once(from);
}

/// The thread's share of a row's sum of exponentials. The first `kept` vectors are copied to
/// `memory`; with kAgain, the row is read again later.
template <bool kAgain, class T>
__device__ __forceinline__ PowerSum own_power_sum(const T* row, int vocab, const Span& span,
                                                  Vector<T>* memory, int kept) {
  constexpr int kSize = kVectorSize<T>;
  const int threads = static_cast<int>(blockDim.x);
  const T* const vectors = row + span.head;
  PowerSum sum;
  for (int first = static_cast<int>(threadIdx.x); first < span.vectors; first += kBatch * threads) {
    Vector<T> batch[kBatch];
#pragma unroll
    for (int v = 0; v < kBatch; ++v) {
      const int index = first + v * threads;
      batch[v] = index < span.vectors
                     ? load_kept_or_not(vectors + index * kSize, kAgain && index >= kept)
                     : nothing<T>();
    }
    if constexpr (kAgain) {
#pragma unroll
      for (int v = 0; v < kBatch; ++v)
        if (first + v * threads < kept) memory[first + v * threads] = batch[v];
    }
    float x[kBatch * kSize];
#pragma unroll
    for (int v = 0; v < kBatch; ++v) {
      float wide[kSize];
      unpack(batch[v], wide);
#pragma unroll
      for (int i = 0; i < kSize; ++i) x[v * kSize + i] = wide[i];
    }
    sum.add(x);
  }
  for_own_single_elements(span, vocab, [&](int i) {
    const float one[1] = {as_float(row[i])};
    sum.add(one);
  });
  return sum;
}

/// What a row's gradient is made from.
struct Gradient {
  float offset;  ///< lse * log2(e)
  float scale;
  int label;

  __device__ __forceinline__ float of(float x) const {
    return exp2_fast(fmaf(x, kLog2E, -offset)) * scale;
  }
  __device__ __forceinline__ float of_label(float x) const {
    return (exp2_fast(fmaf(x, kLog2E, -offset)) - 1.F) * scale;
  }

  /// Of a vector whose first element is `column`.
  template <class T>
  __device__ __forceinline__ Vector<T> of(const Vector<T>& x, int column) const {
    constexpr int kSize = kVectorSize<T>;
    float wide[kSize];
    unpack(x, wide);
    if (static_cast<unsigned>(label - column) < kSize) {
#pragma unroll
      for (int i = 0; i < kSize; ++i)
        wide[i] = column + i == label ? of_label(wide[i]) : of(wide[i]);
    } else {
#pragma unroll
      for (int i = 0; i < kSize; ++i) wide[i] = of(wide[i]);
    }
    return pack<T>(wide);
  }
};

/// Writes the thread's share of a row's gradient: the first `kept` vectors of logits come from
/// `memory`. grad may be row.
template <class T>
__device__ __forceinline__ void write_own_gradient(const T* row, T* grad, int vocab,
                                                   const Span& span, const Gradient& gradient,
                                                   const Vector<T>* memory, int kept) {
  constexpr int kSize = kVectorSize<T>;
  const int threads = static_cast<int>(blockDim.x);
  for (int first = static_cast<int>(threadIdx.x); first < span.vectors; first += kBatch * threads) {
    Vector<T> batch[kBatch];
#pragma unroll
    for (int v = 0; v < kBatch; ++v) {
      const int index = first + v * threads;
      if (index < kept)
        batch[v] = memory[index];
      else if (index < span.vectors)
        batch[v] = load_once(row + span.head + index * kSize);
    }
#pragma unroll
    for (int v = 0; v < kBatch; ++v) {
      const int index = first + v * threads;
      const int column = span.head + index * kSize;
      if (index < span.vectors) store_once(grad + column, gradient.of(batch[v], column));
    }
  }
  for_own_single_elements(span, vocab, [&](int i) {
    const float x = as_float(row[i]);
    grad[i] = rounded<T>(i == gradient.label ? gradient.of_label(x) : gradient.of(x));
  });
}

template <class T>
__device__ __forceinline__ void write_zeros(T* grad, int vocab, const Span& span) {
  for (int index = static_cast<int>(threadIdx.x); index < span.vectors;
       index += static_cast<int>(blockDim.x))
    store_once(grad + span.head + index * kVectorSize<T>, Vector<T>{});
  for_own_single_elements(span, vocab, [&](int i) { grad[i] = rounded<T>(0.F); });
}

__device__ __forceinline__ bool is_outside(int64_t label, int vocab) {
  return label < 0 || label >= vocab;
}

template <class T>
__global__ void __launch_bounds__(kMostThreads) forward_kernel(const CrossEntropyForward work) {
  const int64_t row = blockIdx.x;
  const int vocab = work.rows.vocab;
  const int64_t label = work.rows.labels[row];
  if (is_outside(label, vocab)) {
    if (threadIdx.x != 0) return;
    const bool ignored = label == kIgnoredLabel;
    work.lse[row] = ignored ? 0.F : NAN;
    work.losses[row] = ignored ? 0.F : NAN;
    if (!ignored && work.bad_label != nullptr) *work.bad_label = 1;
    return;
  }
  const T* const logits = static_cast<const T*>(work.rows.logits) + row * vocab;
  const PowerSum sum = across_block(
      own_power_sum<false, T>(logits, vocab, span_of(logits, vocab, /*vectors=*/true), nullptr, 0));
  if (threadIdx.x != 0) return;
  const float lse = sum.log_sum_exp();
  work.lse[row] = lse;
  work.losses[row] = lse - as_float(logits[label]);
}

/// `vectors`: whether a row's logits and gradients lie alike to multiples of 16 bytes.
template <class T>
__global__ void __launch_bounds__(kMostThreads)
    backward_kernel(const CrossEntropyBackward work, bool vectors) {
  const int64_t row = blockIdx.x;
  const int vocab = work.rows.vocab;
  const int64_t label = work.rows.labels[row];
  const T* const logits = static_cast<const T*>(work.rows.logits) + row * vocab;
  T* const grad = static_cast<T*>(work.grad_logits) + row * vocab;
  const Span span = span_of<T>(grad, vocab, vectors);
  if (label == kIgnoredLabel) return write_zeros(grad, vocab, span);
  const Gradient gradient{work.lse[row] * kLog2E, *work.scale, static_cast<int>(label)};
  write_own_gradient<T>(logits, grad, vocab, span, gradient, nullptr, 0);
}

/// Shared memory keeps a row's first `most_kept` vectors between the two passes; the rest comes
/// again from the L2 cache.
template <class T>
__global__ void __launch_bounds__(kLongRowThreads)
    forward_backward_kernel(const CrossEntropyForwardBackward work, int most_kept) {
  extern __shared__ uint4 memory[];
  const int64_t row = blockIdx.x;
  const int vocab = work.vocab;
  const int64_t label = work.labels[row];
  T* const logits = static_cast<T*>(work.logits) + row * vocab;
  const Span span = span_of<T>(logits, vocab, /*vectors=*/true);
  const float scale = *work.scale;
  if (label == kIgnoredLabel) {
    if (threadIdx.x == 0) work.losses[row] = 0;
    return write_zeros(logits, vocab, span);
  }
  Gradient gradient{NAN, scale, static_cast<int>(label)};
  if (!is_outside(label, vocab)) {
    // Before the barrier in across_block, after which the gradient takes its place.
    const float of_label = as_float(logits[label]);
    const PowerSum sum = across_block(own_power_sum<true, T>(
        logits, vocab, span, reinterpret_cast<Vector<T>*>(memory), most_kept));
    const float lse = sum.log_sum_exp();
    gradient.offset = lse * kLog2E;
    if (threadIdx.x == 0) work.losses[row] = lse - of_label;
  } else {
    most_kept = 0;
    if (threadIdx.x == 0) {
      work.losses[row] = NAN;
      if (work.bad_label != nullptr) *work.bad_label = 1;
    }
  }
  write_own_gradient<T>(logits, logits, vocab, span, gradient,
                        reinterpret_cast<const Vector<T>*>(memory), min(most_kept, span.vectors));
}

constexpr int kSumThreads = 1024;

__global__ void __launch_bounds__(kSumThreads)
    sum_kernel(const float* losses, int64_t rows, float* out) {
  __shared__ double warps[kSumThreads / 32];
  double sum = 0;
#pragma unroll 8
  for (int64_t row = threadIdx.x; row < rows; row += kSumThreads)
    sum += static_cast<double>(losses[row]);
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, lanes);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  sum = warps[threadIdx.x];
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, lanes);
  if (threadIdx.x == 0) *out = static_cast<float>(sum);
}

unsigned grid(int64_t rows) {
  if (rows > INT_MAX) throw std::runtime_error("cross entropy takes fewer than 2^31 rows");
  return static_cast<unsigned>(rows);
}

/// Threads of a block, so many that each has a batch of the row, but not more than `most`.
template <class T>
int threads_for(int vocab, int most) {
  const int64_t batch = kBatch * kVectorSize<T>;
  const int64_t threads = (vocab + batch - 1) / batch;
  return static_cast<int>(std::clamp<int64_t>((threads + 31) / 32 * 32, 64, most));
}

}  // namespace

void cross_entropy_forward(const CrossEntropyForward& work, cudaStream_t stream) {
  if (work.rows.rows == 0) return;
  with_type(work.rows.type, [&](auto t) {
    using T = decltype(t);
    forward_kernel<T>
        <<<grid(work.rows.rows), threads_for<T>(work.rows.vocab, kMostThreads), 0, stream>>>(work);
  });
  check(cudaGetLastError(), "starting cross entropy's forward");
}

void cross_entropy_backward(const CrossEntropyBackward& work, cudaStream_t stream) {
  if (work.rows.rows == 0) return;
  const bool vectors = reinterpret_cast<uintptr_t>(work.rows.logits) % 16 ==
                       reinterpret_cast<uintptr_t>(work.grad_logits) % 16;
  with_type(work.rows.type, [&](auto t) {
    using T = decltype(t);
    backward_kernel<T>
        <<<grid(work.rows.rows), threads_for<T>(work.rows.vocab, kMostThreads), 0, stream>>>(
            work, vectors);
  });
  check(cudaGetLastError(), "starting cross entropy's backward");
}

void cross_entropy_forward_backward(const CrossEntropyForwardBackward& work, cudaStream_t stream) {
  if (work.rows == 0) return;
  // A kilobyte of each block's is the system's, and across_block has a quarter of one.
  constexpr int64_t kOther = 2048;
  const int64_t for_block = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) - kOther;
  const int64_t for_multiprocessor =
      device_attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor) - 2 * kOther;
  with_type(work.type, [&](auto t) {
    using T = decltype(t);
    const int64_t row_bytes =
        (int64_t{work.vocab} * static_cast<int64_t>(sizeof(T)) + 15) / 16 * 16;
    const int64_t kept_bytes = std::min(row_bytes, for_block / 16 * 16);
    const bool alone = 2 * kept_bytes > for_multiprocessor;
    const int threads = threads_for<T>(work.vocab, alone ? kLongRowThreads : kMostThreads);
    const auto kernel = forward_backward_kernel<T>;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(kept_bytes)),
          "asking for shared memory for cross entropy");
    kernel<<<grid(work.rows), threads, static_cast<size_t>(kept_bytes), stream>>>(
        work, static_cast<int>(kept_bytes / 16));
  });
  check(cudaGetLastError(), "starting cross entropy's forward and backward");
}

void cross_entropy_sum(const float* losses, int64_t rows, float* sum, cudaStream_t stream) {
  sum_kernel<<<1, kSumThreads, 0, stream>>>(losses, rows, sum);
  check(cudaGetLastError(), "starting the sum of cross entropy's losses");
}

}  // namespace coeus::cuda
