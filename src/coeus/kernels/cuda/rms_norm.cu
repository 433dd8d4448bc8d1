// RMSNorm forward and backward. The threads of a row hold it in registers, so that memory is read
// once. A row has 4 to 32 lanes of a warp when it is short, else as many warps as it fills; a block
// takes as many rows at once as make about 256 threads. Backward's blocks go over many rows and
// keep their share of the weight's gradient in registers; a second kernel sums the blocks' shares.
//
// T is the type of x, O of out and its gradient, W of the weight. A thread works on as many columns
// at once as 16 bytes of T have; of an O of half the size that is half a vector, in 8 bytes.
#include <algorithm>
#include <climits>
#include <stdexcept>
#include <type_traits>

#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/rms_norm.h"
#include "coeus/kernels/cuda/vectors.cuh"

namespace coeus::cuda {
namespace {

/// Threads of a block unless one row takes more.
constexpr int kBlockThreads = 256;
/// Most warps of a row in forward.
constexpr int kForwardWarps = 32;
/// Vectors of a row that a thread holds: when lanes of one warp share a row, and when warps do.
constexpr int kFewVectors = 2;
constexpr int kManyVectors = 4;
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

/// How the threads of a block stand: `slots` rows at once, each of kLanes * row_warps threads.
struct Layout {
  int row_warps;
  int slots;
  int threads;
  bool aligned;  ///< whether 16 bytes of rows and of the weight can be read at once
};

/// Whether kSize elements are all of a vector; else they are the first half of it.
template <class T, int kSize>
constexpr bool kIsWhole = kSize == kVectorSize<T>;

/// The first kSize elements of a vector.
template <int kSize, class T>
__device__ __forceinline__ void unpack_first(const Vector<T>& x, float (&out)[kSize]) {
  static_assert(kIsWhole<T, kSize> || kIsWhole<T, 2 * kSize>);
  float all[kVectorSize<T>];
  unpack(x, all);
#pragma unroll
  for (int i = 0; i < kSize; ++i) out[i] = all[i];
}

/// Rounds each value to the nearest T; zeros after them.
template <class T, int kSize>
__device__ __forceinline__ Vector<T> pack_first(const float (&x)[kSize]) {
  static_assert(kIsWhole<T, kSize> || kIsWhole<T, 2 * kSize>);
  float all[kVectorSize<T>] = {};
#pragma unroll
  for (int i = 0; i < kSize; ++i) all[i] = x[i];
  return pack<T>(all);
}

/// Elements [index * kSize, (index + 1) * kSize) of a row; zeros past its end. `kAgain`: of what
/// this kernel itself may have written.
template <int kSize, bool kAgain = false, class T>
__device__ __forceinline__ Vector<T> load_from_row(const T* row, int index, int dim, bool aligned) {
  const int column = index * kSize;
  if (column >= dim) return {};
  if (!aligned) return load_part(row + column, min(kSize, dim - column));
  if constexpr (kIsWhole<T, kSize>) {
    return kAgain ? load(row + column) : load_once(row + column);
  } else {
    static_assert(!kAgain);
    const uint2 half = __ldcs(reinterpret_cast<const uint2*>(row + column));
    return {{half.x, half.y}};
  }
}

template <int kSize, class T>
__device__ __forceinline__ void store_to_row(T* row, int index, int dim, bool aligned,
                                             const Vector<T>& x) {
  const int column = index * kSize;
  if (column >= dim) return;
  if (!aligned)
    store_part(row + column, x, min(kSize, dim - column));
  else if constexpr (kIsWhole<T, kSize>)
    store(row + column, x);
  else
    *reinterpret_cast<uint2*>(row + column) = {x.words[0], x.words[1]};
}

/// kSize elements from an address that is a multiple of 16.
template <int kSize, class W>
__device__ __forceinline__ void load_wide(const W* from, float (&out)[kSize]) {
  constexpr int kStep = kVectorSize<W>;
  static_assert(kSize % kStep == 0);
#pragma unroll
  for (int part = 0; part < kSize / kStep; ++part) {
    float wide[kStep];
    unpack(load(from + part * kStep), wide);
#pragma unroll
    for (int i = 0; i < kStep; ++i) out[part * kStep + i] = wide[i];
  }
}

/// Values of the weight at the columns of a vector of kSize elements; zeros past the end.
template <int kSize, class W>
__device__ __forceinline__ void load_weight(const W* weight, int index, int dim, bool aligned,
                                            float (&out)[kSize]) {
  const int column = index * kSize;
  if (aligned && column < dim) return load_wide(weight + column, out);
#pragma unroll
  for (int i = 0; i < kSize; ++i) out[i] = column + i < dim ? as_float(weight[column + i]) : 0.F;
}

/// The sum of x over the threads of a row, the same in each. `shared`: a float a warp of the block;
/// a call may follow another at once when it has other floats. All threads of the block must call.
template <int kLanes>
__device__ __forceinline__ float row_sum(float x, int row_warps, float* shared) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    x += __shfl_xor_sync(0xffffffffU, x, offset);
  if (kLanes < 32 || row_warps == 1) return x;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane == 0) shared[warp] = x;
  __syncthreads();
  x = lane < row_warps ? shared[warp / row_warps * row_warps + lane] : 0.F;
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffU, x, offset);
  return x;
}

/// x + residual, rounded to T.
template <class T>
__device__ __forceinline__ Vector<T> added(const Vector<T>& x, const Vector<T>& residual) {
  float a[kVectorSize<T>], b[kVectorSize<T>];
  unpack(x, a);
  unpack(residual, b);
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

template <class T, class O, class W, int kLanes, int kVectors, bool kResidual>
__global__ void __launch_bounds__(kLanes < 32 ? kBlockThreads : 1024)
    forward_kernel(const RmsNormForward work, const Layout layout) {
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
  const T* const residual_row = kResidual ? static_cast<const T*>(work.residual) + start : nullptr;
  T* const sum_row = kResidual ? static_cast<T*>(work.sum) + start : nullptr;
  O* const out_row = static_cast<O*>(work.out) + start;
  const W* const weight = static_cast<const W*>(work.weight);
  const int held = row_threads * kVectors;  // vectors of the row that registers hold
  const int vectors = (dim + kSize - 1) / kSize;

  Vector<T> x[kVectors];
  if constexpr (kResidual) {
    Vector<T> residual[kVectors];
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
    if constexpr (kResidual) {
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
  const T* const normed_row = kResidual ? sum_row : x_row;
  for (int index = held + first; index < vectors; index += row_threads)
    store_to_row<kSize>(out_row, index, dim, aligned,
                        normed<O>(load_from_row<kSize, true>(normed_row, index, dim, aligned),
                                  inverse, weight, index, dim, aligned));
}

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
template <class T, class O, class W, int kLanes, int kVectors, bool kAdd>
__global__ void __launch_bounds__(kLanes < 32 ? kBlockThreads : kBackwardWarps<T, kVectors> * 32,
                                  kVectors == kManyVectors ? 1
                                  : kLanes < 32            ? 4
                                                           : 2)
    backward_kernel(const RmsNormBackward work, const Layout layout, int stages, float* partial) {
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

/// Calls run(integral_constant of lanes, integral_constant of vectors, layout) for rows of that
/// many vectors. The longest get most_warps, and may then have more vectors than registers hold.
/// few_vectors_warps: up to how many warps of kFewVectors are better than fewer of kManyVectors.
template <class Run>
void with_layout(int vectors, int few_vectors_warps, int most_warps, Run run) {
  const auto call = [&](auto lanes, auto held, int row_warps) {
    const int row_threads = decltype(lanes)::value * row_warps;
    const int slots = std::max(1, kBlockThreads / row_threads);
    run(lanes, held, Layout{row_warps, slots, slots * row_threads, false});
  };
  constexpr std::integral_constant<int, kFewVectors> kFew;
  constexpr std::integral_constant<int, kManyVectors> kMany;
  if (vectors <= 4 * kFewVectors) return call(std::integral_constant<int, 4>{}, kFew, 1);
  if (vectors <= 8 * kFewVectors) return call(std::integral_constant<int, 8>{}, kFew, 1);
  if (vectors <= 16 * kFewVectors) return call(std::integral_constant<int, 16>{}, kFew, 1);
  constexpr std::integral_constant<int, 32> kWarp;
  const int few_warps = (vectors + 32 * kFewVectors - 1) / (32 * kFewVectors);
  if (few_warps <= few_vectors_warps) return call(kWarp, kFew, few_warps);
  const int many_warps = (vectors + 32 * kManyVectors - 1) / (32 * kManyVectors);
  return call(kWarp, kMany, std::min(many_warps, most_warps));
}

template <class Work>
ElementType out_type_of(const Work& work) {
  return work.out_type.value_or(work.type);
}

/// Calls run(zero of T, zero of O, zero of W).
template <class Work, class Run>
void with_types(const Work& work, Run run) {
  const ElementType out_type = out_type_of(work);
  const bool same = out_type == work.type;
  if (!same && work.type != ElementType::kFloat32)
    throw std::runtime_error("RMSNorm's output has its input's type, or fewer bits than float32");
  if (work.weight_type != ElementType::kFloat32 && !(same && work.weight_type == work.type))
    throw std::runtime_error(same ? "RMSNorm takes a weight of its input's type or of float32"
                                  : "RMSNorm that narrows its output takes a weight of float32");
  with_type(work.type, [&](auto t) {
    if (same && work.weight_type == work.type) return run(t, t, t);
    if (same) return run(t, t, float{});
    if constexpr (std::is_same_v<decltype(t), float>)
      with_type(out_type, [&](auto o) { run(t, o, float{}); });
  });
}

unsigned grid(int64_t blocks) {
  if (blocks > INT_MAX) throw std::runtime_error("RMSNorm takes fewer than 2^31 blocks of rows");
  return static_cast<unsigned>(blocks);
}

/// Bytes of out, or of its gradient, beside 16 of x.
int64_t out_bytes(ElementType type, ElementType out_type) {
  return 16 * size_of(out_type) / size_of(type);
}

/// Whether a thread's columns of each input and output can be read at once. `out`: or its gradient.
template <class Work, class... Pointers>
bool is_aligned(const Work& work, const void* out, Pointers... others) {
  return work.dim * size_of(work.type) % 16 == 0 && aligned_to_vectors(others...) &&
         reinterpret_cast<uintptr_t>(out) % out_bytes(work.type, out_type_of(work)) == 0;
}
bool is_aligned(const RmsNormForward& work) {
  return is_aligned(work, work.out, work.x, work.residual, work.weight, work.sum);
}
bool is_aligned(const RmsNormBackward& work) {
  return is_aligned(work, work.grad_out, work.grad_sum, work.x, work.weight, work.grad_x);
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
          int64_t{layout.threads} * kVectors * ((add ? 32 : 16) + out_bytes(type, out_type));
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

void rms_norm_forward(const RmsNormForward& work, cudaStream_t stream) {
  if (work.rows == 0 || work.dim == 0) return;
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
                  if (work.residual != nullptr)
                    forward_kernel<T, O, W, kLanes, kVectors, true>
                        <<<blocks, layout.threads, 0, stream>>>(work, layout);
                  else
                    forward_kernel<T, O, W, kLanes, kVectors, false>
                        <<<blocks, layout.threads, 0, stream>>>(work, layout);
                });
  });
  check(cudaGetLastError(), "starting RMSNorm's forward");
}

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
      if (work.grad_sum != nullptr)
        start_backward(backward_kernel<T, O, W, kLanes, kVectors, true>, work, layout, plan,
                       partial, stream);
      else
        start_backward(backward_kernel<T, O, W, kLanes, kVectors, false>, work, layout, plan,
                       partial, stream);
    });
  });
  if (partial == nullptr) return;
  sum_kernel<<<(work.dim + kSumColumns - 1) / kSumColumns, dim3(kSumColumns, kSumRows), 0,
               stream>>>(partial, static_cast<int>(shares), work.dim, work.grad_weight);
  check(cudaGetLastError(), "starting RMSNorm's backward (sum of the weight's gradient)");
}

}  // namespace coeus::cuda
