// RMSNorm backward. Blocks go over many rows and keep their share of the weight's gradient in
// registers; a second kernel sums the blocks' shares.
#include <algorithm>
#include <stdexcept>
#include <type_traits>

#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/rms_norm.h"
#include "coeus/kernels/cuda/rms_norm_rows.cuh"
#include "coeus/kernels/cuda/vectors.cuh"

namespace coeus::cuda {
namespace {

using namespace rms_norm;

/// Most warps of a row in backward, as many as have the registers.
template <class T, int kVectors>
constexpr int kBackwardWarps = kVectors == kManyVectors && sizeof(T) == 4 ? 32 : 16;
/// Backward starts as many blocks as this many multiprocessors of 1024 threads hold at once,
/// whatever GPU runs it, for sums must not depend on that. An H100 has 132.
constexpr int kMultiprocessors = 132;
constexpr int kResidentThreads = 1024;
/// Bytes of shared memory that compute capabilities 8.0, 9.0 and 10.0 let a block have (where GPUs
/// have less, dims over 8192 fail to start), and what a multiprocessor of 9.0 has for all its
/// blocks.
constexpr int64_t kMostShared = 160 * 1024;
constexpr int64_t kMultiprocessorShared = 220 * 1024;
/// Fewer rows than this a block and row of threads are not worth a block's share of the weight's
/// gradient.
constexpr int kFewestRows = 4;

/// The rows of one block of backward: [rows_before(b), rows_before(b + 1)) of `blocks` blocks.
__device__ __forceinline__ int64_t rows_before(int64_t block, int64_t rows, int64_t blocks) {
  return block * (rows / blocks) + min(block, rows % blocks);
}

/// Starts to copy kBytes, 16 or 8, to shared memory. Only the thread that did may read them without
/// a barrier, after wait_for_copies.
template <int kBytes>
__device__ __forceinline__ void start_copy(void* to, const void* from) {
  const auto place = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place), "l"(from) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(place), "l"(from) : "memory");
}
__device__ __forceinline__ void end_group_of_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Until at most kPending groups of this thread are still under way.
template <int kPending>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// What backward reads of its rows. Rows go through shared memory, where a thread finds what it
/// copied itself: registers would not hold them unpacked beside the share of the weight's gradient.
/// The next row is under way while one is worked on, where shared memory holds `stages` of two.
template <class T, class O, int kVectors, bool kAdd>
class RowsInFlight {
 public:
  static constexpr int kSize = kVectorSize<T>;

  __device__ RowsInFlight(const RmsNormBackward& work, void* memory, int row_threads)
      : x_(static_cast<const T*>(work.x)),
        grad_out_(static_cast<const O*>(work.grad_out)),
        grad_sum_(static_cast<const T*>(work.grad_sum)),
        memory_(static_cast<unsigned char*>(memory)),
        row_threads_(row_threads),
        first_(static_cast<int>(threadIdx.x) % row_threads) {}

  /// The thread's vectors of a row whose first element is `row_start`; none of a row of dim 0.
  __device__ __forceinline__ void start(int stage, int64_t row_start, int dim) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int column = (first_ + v * row_threads_) * kSize;
      if (column >= dim) continue;
      start_copy<kVectorBytes>(place<kVectorBytes>(stage, 0, v), x_ + row_start + column);
      start_copy<kGradBytes>(place<kGradBytes>(stage, kGradOut, v), grad_out_ + row_start + column);
      if constexpr (kAdd)
        start_copy<kVectorBytes>(place<kVectorBytes>(stage, kGradSum, v),
                                 grad_sum_ + row_start + column);
    }
  }

  /// Values of vector v of the thread, one that exists.
  __device__ __forceinline__ void read_x(int stage, int v, float (&out)[kSize]) const {
    unpack(*reinterpret_cast<const Vector<T>*>(place<kVectorBytes>(stage, 0, v)), out);
  }
  __device__ __forceinline__ void read_grad_out(int stage, int v, float (&out)[kSize]) const {
    const void* const from = place<kGradBytes>(stage, kGradOut, v);
    if constexpr (kIsWhole<O, kSize>) {
      unpack(*static_cast<const Vector<O>*>(from), out);
    } else {
      const uint2 half = *static_cast<const uint2*>(from);
      unpack_first(Vector<O>{{half.x, half.y}}, out);
    }
  }
  __device__ __forceinline__ void read_grad_sum(int stage, int v, float (&out)[kSize]) const {
    unpack(*reinterpret_cast<const Vector<T>*>(place<kVectorBytes>(stage, kGradSum, v)), out);
  }

 private:
  static constexpr int kVectorBytes = 16;
  static constexpr int kGradBytes = kSize * static_cast<int>(sizeof(O));
  /// Where the inputs begin in a stage, and where it ends, in bytes a vector and thread.
  static constexpr int kGradOut = kVectorBytes;
  static constexpr int kGradSum = kGradOut + kGradBytes;
  static constexpr int kStage = kGradSum + (kAdd ? kVectorBytes : 0);

  /// Threads stand side by side, kBytes each.
  template <int kBytes>
  __device__ __forceinline__ unsigned char* place(int stage, int input, int v) const {
    static_assert(kStage * kVectors % kBytes == 0 && kGradSum * kVectors % kBytes == 0);
    const int before = stage * (kStage * kVectors / kBytes) + input * kVectors / kBytes + v;
    return memory_ +
           (before * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * kBytes;
  }

  const T* x_;
  const O* grad_out_;
  const T* grad_sum_;
  unsigned char* memory_;
  int row_threads_;
  int first_;
};

/// For rows that can be read 16 bytes at once. Writes a block's share of the weight's gradient to
/// row blockIdx.x of partial [blocks, dim], unless that is null.
template <class T, class O, class W, int kLanes, int kVectors, Residual kResidual>
__global__ void __launch_bounds__(kLanes < 32 ? kBlockThreads : kBackwardWarps<T, kVectors> * 32,
                                  kVectors == kManyVectors ? 1
                                  : kLanes < 32            ? 4
                                                           : 2)
    backward_kernel(const RmsNormBackward work, const Layout layout, int stages, float* partial) {
  constexpr bool kAdd = kResidual != Residual::kNone;
  constexpr int kSize = kVectorSize<T>;
  __shared__ float shared[2][32];
  extern __shared__ uint4 memory[];
  const int row_threads = kLanes * layout.row_warps;
  const int slot = static_cast<int>(threadIdx.x) / row_threads;
  const int first = static_cast<int>(threadIdx.x) % row_threads;
  const W* const weight = static_cast<const W*>(work.weight);
  RowsInFlight<T, O, kVectors, kAdd> rows(work, memory, row_threads);
  const int64_t begin = rows_before(blockIdx.x, work.rows, gridDim.x);
  const int64_t end = rows_before(int64_t{blockIdx.x} + 1, work.rows, gridDim.x);
  const float inverse_dim = 1.F / static_cast<float>(work.dim);
  const auto start_row = [&](int stage, int64_t row) {
    rows.start(stage, row * work.dim, row < end ? work.dim : 0);
    end_group_of_copies();
  };

  float share[kVectors][kSize] = {};
  int turn = 0;
  if (stages == 2) start_row(0, begin + slot);
  const auto inverse_of = [&](int64_t row) { return row < end ? work.inverse_rms[row] : 0.F; };
  float next_inverse = inverse_of(begin + slot);
  // A slot may go past the end with the others, for all threads meet in row_sum.
  for (int64_t row = begin + slot; row < end + slot; row += layout.slots) {
    const int stage = stages == 2 ? turn : 0;
    const float inverse = next_inverse;
    next_inverse = inverse_of(row + layout.slots);
    if (stages == 2) {
      start_row(turn ^ 1, row + layout.slots);
      wait_for_copies<1>();
    } else {
      start_row(0, row);
      wait_for_copies<0>();
    }
    const int dim = row < end ? work.dim : 0;
    float dot = 0;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int column = (first + v * row_threads) * kSize;
      if (column >= dim) continue;
      float x[kSize], grad[kSize], w[kSize];
      rows.read_x(stage, v, x);
      rows.read_grad_out(stage, v, grad);
      load_wide(weight + column, w);
#pragma unroll
      for (int i = 0; i < kSize; ++i) {
        const float product = grad[i] * x[i];
        dot += product * w[i];
        share[v][i] += product * inverse;
      }
    }
    // Two buffers: a thread may write the next row's sums while others still read this one's.
    dot = row_sum<kLanes>(dot, layout.row_warps, shared[turn]);
    turn ^= 1;
    const float along = dot * inverse * inverse * inverse_dim;
    T* const grad_x = static_cast<T*>(work.grad_x) + row * work.dim;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int column = (first + v * row_threads) * kSize;
      if (column >= dim) continue;
      float x[kSize], grad[kSize], w[kSize];
      rows.read_x(stage, v, x);
      rows.read_grad_out(stage, v, grad);
      load_wide(weight + column, w);
#pragma unroll
      for (int i = 0; i < kSize; ++i) x[i] = (grad[i] * w[i] - x[i] * along) * inverse;
      if constexpr (kAdd) {
        rows.read_grad_sum(stage, v, grad);
#pragma unroll
        for (int i = 0; i < kSize; ++i) x[i] += grad[i];
      }
      store(grad_x + column, pack<T>(x));
      if constexpr (kResidual == Residual::kOfOut)
        store_to_row<kSize>(static_cast<O*>(work.grad_residual) + row * work.dim,
                            first + v * row_threads, dim, true, pack_first<O>(x));
    }
  }
  wait_for_copies<0>();

  if (partial == nullptr) return;
  partial += int64_t{blockIdx.x} * work.dim;
  // [slots, dim]: fits where the rows were.
  auto* const slot_shares = reinterpret_cast<float*>(memory);
  float* const to = layout.slots > 1 ? slot_shares + slot * work.dim : partial;
  if (layout.slots > 1) __syncthreads();
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int column = (first + v * row_threads) * kSize;
    if (column >= work.dim) continue;
#pragma unroll
    for (int i = 0; i < kSize; i += 4)
      *reinterpret_cast<float4*>(to + column + i) = {share[v][i], share[v][i + 1], share[v][i + 2],
                                                     share[v][i + 3]};
  }
  if (layout.slots == 1) return;
  __syncthreads();
  for (int column = static_cast<int>(threadIdx.x); column < work.dim;
       column += static_cast<int>(blockDim.x)) {
    float sum = 0;
    for (int s = 0; s < layout.slots; ++s) sum += slot_shares[s * work.dim + column];
    partial[column] = sum;
  }
}

/// Most threads of a block of any_row_kernel.
constexpr int kAnyRowThreads = 512;

/// grad_x of rows that backward_kernel does not take, a block a row.
template <class T, class O, class W>
__global__ void __launch_bounds__(kAnyRowThreads)
    any_row_kernel(const RmsNormBackward work, bool aligned) {
  constexpr int kSize = kVectorSize<T>;
  __shared__ float shared[kAnyRowThreads / 32];
  const int64_t row = blockIdx.x;
  const int dim = work.dim;
  const int vectors = (dim + kSize - 1) / kSize;
  const T* const x_row = static_cast<const T*>(work.x) + row * dim;
  const O* const grad_row = static_cast<const O*>(work.grad_out) + row * dim;
  const W* const weight = static_cast<const W*>(work.weight);
  const float inverse = work.inverse_rms[row];
  float dot = 0;
#pragma unroll 2
  for (int index = static_cast<int>(threadIdx.x); index < vectors; index += blockDim.x) {
    float wide[kSize], g[kSize], w[kSize];
    unpack(load_from_row<kSize>(x_row, index, dim, aligned), wide);
    unpack_first(load_from_row<kSize>(grad_row, index, dim, aligned), g);
    load_weight(weight, index, dim, aligned, w);
#pragma unroll
    for (int i = 0; i < kSize; ++i) dot += g[i] * wide[i] * w[i];
  }
  dot = row_sum<32>(dot, static_cast<int>(blockDim.x) / 32, shared);
  const float along = dot * inverse * inverse / static_cast<float>(dim);
#pragma unroll 2
  for (int index = static_cast<int>(threadIdx.x); index < vectors; index += blockDim.x) {
    float wide[kSize], g[kSize], w[kSize];
    unpack(load_from_row<kSize>(x_row, index, dim, aligned), wide);
    unpack_first(load_from_row<kSize>(grad_row, index, dim, aligned), g);
    load_weight(weight, index, dim, aligned, w);
#pragma unroll
    for (int i = 0; i < kSize; ++i) wide[i] = (g[i] * w[i] - wide[i] * along) * inverse;
    if (work.grad_sum != nullptr) {
      unpack(load_from_row<kSize>(static_cast<const T*>(work.grad_sum) + row * dim, index, dim,
                                  aligned),
             g);
#pragma unroll
      for (int i = 0; i < kSize; ++i) wide[i] += g[i];
    }
    store_to_row<kSize>(static_cast<T*>(work.grad_x) + row * dim, index, dim, aligned,
                        pack<T>(wide));
    if constexpr (!std::is_same_v<T, O>)
      if (work.grad_residual != nullptr)
        store_to_row<kSize>(static_cast<O*>(work.grad_residual) + row * dim, index, dim, aligned,
                            pack_first<O>(wide));
  }
}

/// Blocks of any_share_kernel.
constexpr int kAnyShareBlocks = 1024;

/// Shares of such rows in the weight's gradient, a thread a column: partial [gridDim.y, dim].
template <class T, class O>
__global__ void __launch_bounds__(kBlockThreads)
    any_share_kernel(const RmsNormBackward work, float* partial) {
  const int column = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (column >= work.dim) return;
  const int64_t end = rows_before(int64_t{blockIdx.y} + 1, work.rows, gridDim.y);
  float sum = 0;
#pragma unroll 4
  for (int64_t row = rows_before(blockIdx.y, work.rows, gridDim.y); row < end; ++row) {
    const int64_t at = row * work.dim + column;
    sum += as_float(static_cast<const O*>(work.grad_out)[at]) *
           as_float(static_cast<const T*>(work.x)[at]) * work.inverse_rms[row];
  }
  partial[int64_t{blockIdx.y} * work.dim + column] = sum;
}

/// Columns and rows of threads of a block of sum_kernel.
constexpr int kSumColumns = 32;
constexpr int kSumRows = 32;
constexpr int kSumThreads = kSumColumns * kSumRows;

/// out[column] = the sum of partial[block, column] over blocks.
__global__ void __launch_bounds__(kSumThreads)
    sum_kernel(const float* partial, int blocks, int dim, float* out) {
  __shared__ float sums[kSumRows][kSumColumns];
  const int column = static_cast<int>(blockIdx.x) * kSumColumns + static_cast<int>(threadIdx.x);
  float sum = 0;
  if (column < dim) {
#pragma unroll 8
    for (int block = static_cast<int>(threadIdx.y); block < blocks; block += kSumRows)
      sum += partial[int64_t{block} * dim + column];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= dim) return;
#pragma unroll
  for (int row = 1; row < kSumRows; ++row) sum += sums[row][threadIdx.x];
  out[column] = sum;
}

bool is_aligned(const RmsNormBackward& work) {
  return aligned_rows(work, work.grad_sum, work.x, work.weight, work.grad_x) &&
         aligned_beside(work, work.grad_out, out_type_of(work)) &&
         aligned_beside(work, work.grad_residual, out_type_of(work));
}

/// How the rows of backward_kernel are split among blocks, each with its share of the weight's
/// gradient. Nothing of it depends on the GPU.
struct BackwardPlan {
  bool holds = true;  ///< whether the kernel takes rows of this length
  int stages = 2;
  int64_t shared_bytes = 0;
  int64_t blocks = 0;
};

/// Calls run(lanes, vectors, layout) as with_layout does.
template <class T, class Run>
void with_backward_layout(int dim, Run run) {
  with_layout((dim + kVectorSize<T> - 1) / kVectorSize<T>, kBackwardWarps<T, kFewVectors>,
              kBackwardWarps<T, kManyVectors>, run);
}

BackwardPlan backward_plan(ElementType type, ElementType out_type, int64_t row_count, int dim,
                           bool add) {
  BackwardPlan plan;
  with_type(type, [&](auto t) {
    using T = decltype(t);
    with_backward_layout<T>(dim, [&](auto, auto vectors, const Layout& layout) {
      constexpr int kVectors = decltype(vectors)::value;
      const int row_threads = layout.threads / layout.slots;
      const int64_t stage_bytes =
          int64_t{layout.threads} * kVectors * ((add ? 32 : 16) + bytes_beside(type, out_type));
      plan.holds = dim <= row_threads * kVectors * kVectorSize<T> && stage_bytes <= kMostShared;
      plan.stages = 2 * stage_bytes <= kMostShared ? 2 : 1;
      plan.shared_bytes = plan.stages * stage_bytes;
      const int64_t resident =
          std::max<int64_t>(1, std::min(int64_t{kResidentThreads} / layout.threads,
                                        kMultiprocessorShared / plan.shared_bytes));
      const int64_t rows = int64_t{layout.slots} * kFewestRows;
      plan.blocks =
          std::clamp<int64_t>((row_count + rows - 1) / rows, 1, kMultiprocessors * resident);
    });
  });
  return plan;
}

int share_column_blocks(int dim) { return (dim + kBlockThreads - 1) / kBlockThreads; }

/// Chunks of rows of any_share_kernel.
int64_t share_chunks(int64_t rows, int dim) {
  return std::clamp<int64_t>(rows / kFewestRows, 1,
                             std::max(16, kAnyShareBlocks / share_column_blocks(dim)));
}

/// Starts backward_kernel, which may take more shared memory than kernels may unasked.
template <class Kernel>
void start_backward(Kernel kernel, const RmsNormBackward& work, const Layout& layout,
                    const BackwardPlan& plan, float* partial, cudaStream_t stream) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(plan.shared_bytes)),
        "asking for shared memory for RMSNorm's backward");
  kernel<<<grid(plan.blocks), layout.threads, plan.shared_bytes, stream>>>(work, layout,
                                                                           plan.stages, partial);
  check(cudaGetLastError(), "starting RMSNorm's backward");
}

}  // namespace

int64_t rms_norm_backward_scratch_bytes(ElementType type, int64_t rows, int dim) {
  if (rows == 0 || dim == 0) return 0;
  int64_t blocks = share_chunks(rows, dim);
  // Rows of a narrower output leave room for more blocks.
  for (ElementType out_type : {type, ElementType::kBFloat16})
    for (bool add : {false, true})
      blocks = std::max(blocks, backward_plan(type, out_type, rows, dim, add).blocks);
  return blocks * dim * static_cast<int64_t>(sizeof(float));
}

void rms_norm_backward(const RmsNormBackward& work, cudaStream_t stream) {
  if (work.dim == 0) return;
  if (work.grad_residual != nullptr && (work.grad_sum == nullptr || out_type_of(work) == work.type))
    throw std::runtime_error(
        "RMSNorm's gradient of a residual wants grad_sum, and an output of fewer bits than x");
  if (work.rows == 0) {
    if (work.grad_weight != nullptr)
      check(cudaMemsetAsync(work.grad_weight, 0, work.dim * sizeof(float), stream),
            "zeroing RMSNorm's gradient of the weight");
    return;
  }
  auto* const partial = work.grad_weight != nullptr ? static_cast<float*>(work.scratch) : nullptr;
  const BackwardPlan plan =
      backward_plan(work.type, out_type_of(work), work.rows, work.dim, work.grad_sum != nullptr);
  const bool held = plan.holds && is_aligned(work);
  const int64_t shares = held ? plan.blocks : share_chunks(work.rows, work.dim);
  with_types(work, [&](auto t, auto o, auto w) {
    using T = decltype(t);
    using O = decltype(o);
    using W = decltype(w);
    if (!held) {
      // First, for grad_x may be written over what it reads.
      if (partial != nullptr) {
        const dim3 blocks(share_column_blocks(work.dim), grid(shares));
        any_share_kernel<T, O><<<blocks, kBlockThreads, 0, stream>>>(work, partial);
        check(cudaGetLastError(), "starting RMSNorm's backward (shares of the weight)");
      }
      const int vectors = (work.dim + kVectorSize<T> - 1) / kVectorSize<T>;
      const int threads = std::min(kAnyRowThreads, (vectors + 31) / 32 * 32);
      any_row_kernel<T, O, W><<<grid(work.rows), threads, 0, stream>>>(work, is_aligned(work));
      check(cudaGetLastError(), "starting RMSNorm's backward (any rows)");
      return;
    }
    with_backward_layout<T>(work.dim, [&](auto lanes, auto vectors, const Layout& layout) {
      constexpr int kLanes = decltype(lanes)::value;
      constexpr int kVectors = decltype(vectors)::value;
      const auto start = [&](auto kernel) {
        start_backward(kernel, work, layout, plan, partial, stream);
      };
      if (work.grad_sum == nullptr)
        return start(backward_kernel<T, O, W, kLanes, kVectors, Residual::kNone>);
      if (work.grad_residual == nullptr)
        return start(backward_kernel<T, O, W, kLanes, kVectors, Residual::kOfX>);
      if constexpr (!std::is_same_v<T, O>)
        start(backward_kernel<T, O, W, kLanes, kVectors, Residual::kOfOut>);
    });
  });
  if (partial == nullptr) return;
  sum_kernel<<<(work.dim + kSumColumns - 1) / kSumColumns, dim3(kSumColumns, kSumRows), 0,
               stream>>>(partial, static_cast<int>(shares), work.dim, work.grad_weight);
  check(cudaGetLastError(), "starting RMSNorm's backward (sum of the weight's gradient)");
}

}  // namespace coeus::cuda
