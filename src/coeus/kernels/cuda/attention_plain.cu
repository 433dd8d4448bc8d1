// Block-sparse flash attention for every type, dim and GPU, in float32 without matrix units
// (FlashAttention-2: Dao, arXiv 2307.08691). The reference of the fast kernels, so every step is
// the plain one: operands go through shared memory as floats, 64 columns of 64 tokens at a time,
// and each thread multiplies 4 rows by 4 columns. No two threads add to one value of memory: the
// results are the same in every run.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <stdexcept>
#include <type_traits>

#include "coeus/kernels/cuda/attention.h"
#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/with_type.cuh"

namespace coeus::cuda {
namespace {

/// Queries and keys of a block: half a tile of the mask.
constexpr int kBlock = 64;
constexpr int kHalves = kMaskTile / kBlock;
/// Threads stand in a square; each has kOwn rows and kOwn columns of a product of kBlock by kBlock.
constexpr int kSide = 16;
constexpr int kOwn = kBlock / kSide;
constexpr int kThreads = kSide * kSide;
/// Floats from one row of a Tile to the next: 16 bytes more than the row, so that eight threads
/// that read 16 bytes each from eight rows meet no bank of shared memory twice.
constexpr int kPitch = kBlock + 4;
constexpr int kLargestDim = 256;
constexpr float kInfinity = INFINITY;

/// 64 rows of 64 columns in shared memory.
struct alignas(16) Tile {
  float values[kBlock][kPitch];
};

/// Blocks of threads that a multiprocessor shall have room for, by the sums of kBlock columns that
/// a thread keeps: registers are what there is least of.
constexpr int blocks_at_once(int sums) { return sums <= 2 ? 2 : 1; }

/// A thread's share of a product. Its rows are thread_row() + kSide * r.
using Share = float[kOwn][kOwn];

__device__ __forceinline__ int thread_row() { return static_cast<int>(threadIdx.x) / kSide; }
__device__ __forceinline__ int thread_column() { return static_cast<int>(threadIdx.x) % kSide; }
__device__ __forceinline__ int own_row(int r) { return thread_row() + kSide * r; }
/// Its columns in `add_scores`, and those in `add_values`.
__device__ __forceinline__ int score_column(int c) { return thread_column() + kSide * c; }
__device__ __forceinline__ int value_column(int c) { return kOwn * thread_column() + c; }

__device__ __forceinline__ float as_float(float x) { return x; }
__device__ __forceinline__ float as_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float as_float(__half x) { return __half2float(x); }
__device__ __forceinline__ void round_to(float x, float& out) { out = x; }
__device__ __forceinline__ void round_to(float x, __nv_bfloat16& out) {
  out = __float2bfloat16_rn(x);
}
__device__ __forceinline__ void round_to(float x, __half& out) { out = __float2half_rn(x); }

/// A block's tokens of one head.
template <class T>
struct Rows {
  T* data;
  int64_t stride;  ///< of tokens
  int count;       ///< tokens that exist, at most kBlock
  int dim;
};

template <class T>
__device__ __forceinline__ Rows<T> rows_of(const AttentionTensor& x, int row, int head, int first,
                                           int tokens, int dim) {
  return {
      static_cast<T*>(x.data) + row * x.row_stride + head * x.head_stride + first * x.token_stride,
      x.token_stride, min(kBlock, tokens - first), dim};
}

/// Columns [column, column + 64) of the rows; zeros where there is nothing.
template <class T>
__device__ __forceinline__ void load(Tile& tile, const Rows<T>& rows, int column) {
  constexpr int kRowsAtOnce = kThreads / kBlock;
  const int within = static_cast<int>(threadIdx.x) % kBlock;
  const bool has_column = column + within < rows.dim;
  int row = static_cast<int>(threadIdx.x) / kBlock;
  const T* from = rows.data + row * rows.stride + column + within;
#pragma unroll 4
  for (int step = 0; step < kBlock / kRowsAtOnce; ++step) {
    tile.values[row][within] = has_column && row < rows.count ? as_float(*from) : 0.f;
    row += kRowsAtOnce;
    from += kRowsAtOnce * rows.stride;
  }
}

/// Writes columns [column, column + 64) of the rows, times `scale`, a factor a thread's row.
template <class T>
__device__ __forceinline__ void store(const Share& share, const float (&scale)[kOwn],
                                      const Rows<T>& rows, int column) {
#pragma unroll
  for (int r = 0; r < kOwn; ++r) {
#pragma unroll
    for (int c = 0; c < kOwn; ++c) {
      const int within = column + value_column(c);
      if (own_row(r) < rows.count && within < rows.dim)
        round_to(share[r][c] * scale[r], rows.data[own_row(r) * rows.stride + within]);
    }
  }
}

__device__ __forceinline__ const float4& four(const Tile& tile, int row, int column) {
  return *reinterpret_cast<const float4*>(&tile.values[row][column]);
}

/// share[r, c] += the sum over d < depth of a[own_row(r), d] * b[score_column(c), d].
__device__ __forceinline__ void add_scores(Share& share, const Tile& a, const Tile& b, int depth) {
#pragma unroll 1
  for (int d = 0; d < depth; d += 4) {
    float4 x[kOwn], y[kOwn];
#pragma unroll
    for (int r = 0; r < kOwn; ++r) x[r] = four(a, own_row(r), d);
#pragma unroll
    for (int c = 0; c < kOwn; ++c) y[c] = four(b, score_column(c), d);
#pragma unroll
    for (int r = 0; r < kOwn; ++r) {
#pragma unroll
      for (int c = 0; c < kOwn; ++c) {
        share[r][c] += x[r].x * y[c].x;
        share[r][c] += x[r].y * y[c].y;
        share[r][c] += x[r].z * y[c].z;
        share[r][c] += x[r].w * y[c].w;
      }
    }
  }
}

/// share[r, c] += the sum over j of a[own_row(r), j] * b[j, value_column(c)].
__device__ __forceinline__ void add_values(Share& share, const Tile& a, const Tile& b) {
#pragma unroll 1
  for (int j = 0; j < kBlock; j += 4) {
    float4 x[kOwn], y[4];
#pragma unroll
    for (int r = 0; r < kOwn; ++r) x[r] = four(a, own_row(r), j);
#pragma unroll
    for (int i = 0; i < 4; ++i) y[i] = four(b, j + i, value_column(0));
#pragma unroll
    for (int r = 0; r < kOwn; ++r) {
      const float weights[4] = {x[r].x, x[r].y, x[r].z, x[r].w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        share[r][0] += weights[i] * y[i].x;
        share[r][1] += weights[i] * y[i].y;
        share[r][2] += weights[i] * y[i].z;
        share[r][3] += weights[i] * y[i].w;
      }
    }
  }
}

/// share = a b^T for rows of equal dim, through the two tiles.
template <class T>
__device__ __forceinline__ void multiply_rows(Share& share, const Rows<T>& a, const Rows<T>& b,
                                              Tile& a_tile, Tile& b_tile) {
#pragma unroll
  for (int r = 0; r < kOwn; ++r) {
#pragma unroll
    for (int c = 0; c < kOwn; ++c) share[r][c] = 0;
  }
#pragma unroll 1
  for (int column = 0; column < a.dim; column += kBlock) {
    __syncthreads();  // what was in the tiles is read
    load(a_tile, a, column);
    load(b_tile, b, column);
    __syncthreads();
    add_scores(share, a_tile, b_tile, min(kBlock, a.dim - column));
  }
}

/// sums += weights b: `weights` go to a_tile and columns of b, 64 at a time, to b_tile.
template <int kChunks, class T>
__device__ __forceinline__ void add_weighted(Share (&sums)[kChunks], const Share& weights,
                                             const Rows<T>& b, Tile& a_tile, Tile& b_tile) {
  __syncthreads();  // what was in the tiles is read
#pragma unroll
  for (int r = 0; r < kOwn; ++r) {
#pragma unroll
    for (int c = 0; c < kOwn; ++c) a_tile.values[own_row(r)][score_column(c)] = weights[r][c];
  }
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    if (chunk * kBlock >= b.dim) break;
    if (chunk > 0) __syncthreads();
    load(b_tile, b, chunk * kBlock);
    __syncthreads();
    add_values(sums[chunk], a_tile, b_tile);
  }
}

template <int kChunks, class T>
__device__ __forceinline__ void store_all(const Share (&sums)[kChunks], const float (&scale)[kOwn],
                                          const Rows<T>& rows) {
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk) store(sums[chunk], scale, rows, chunk * kBlock);
}

/// What a block of threads does: tokens [first, first + kBlock) of a head, half a tile of the mask.
struct Item {
  int row;
  int head;
  int first;
};

__device__ __forceinline__ Item item_of(const DeviceTileLists& lists, int heads) {
  const int number = static_cast<int>(blockIdx.x);
  const int2 work = lists.work[number / heads / kHalves];
  const int half = number / heads % kHalves;
  return {work.x, number % heads, work.y * kMaskTile + half * kBlock};
}

/// The blocks of the other side that a block visits, one after another.
class Walk {
 public:
  __device__ __forceinline__ Walk(const DeviceTileLists& lists, const int32_t* distinct_row,
                                  const Item& item, int other_tokens)
      : lists_(lists),
        distinct_row_(distinct_row),
        item_(item),
        other_tokens_(other_tokens),
        partial_(lists.partial_offsets[place()]),
        full_(lists.full_offsets[place()]) {}

  /// Goes to the next block of which something is visible; false at the end. All threads call it.
  __device__ __forceinline__ bool next() {
    while (advance()) {
      if (first() >= other_tokens_) continue;
      if (bits_ == nullptr) return true;
      bool is_seen = false;
      if (threadIdx.x < kBlock) {
        const uint2 words = words_of(static_cast<int>(threadIdx.x));
        is_seen = (words.x | words.y) != 0;
      }
      if (__syncthreads_or(is_seen)) return true;
    }
    return false;
  }
  /// The block's first token.
  __device__ __forceinline__ int first() const { return block_ * kBlock; }

  /// Bit c says whether own_row(r) and score_column(c) of the block see each other.
  __device__ __forceinline__ uint32_t sees(int r) const {
    const uint2 words = bits_ == nullptr ? uint2{~0u, ~0u} : words_of(own_row(r));
    const int column = thread_column();
    return (words.x >> column & 1) | (words.x >> (column + 16) & 1) << 1 |
           (words.y >> column & 1) << 2 | (words.y >> (column + 16) & 1) << 3;
  }

 private:
  static_assert(kBlock == 64 && kSide == 16, "a row of a block has two words of bits");

  /// Where the lists of the item's tile stand. Not kept: this is rare, and registers are few.
  __device__ __forceinline__ int place() const {
    return distinct_row_[item_.row] * lists_.tiles + item_.first / kMaskTile;
  }
  __device__ __forceinline__ uint2 words_of(int row) const {
    return *reinterpret_cast<const uint2*>(bits_ + (item_.first % kMaskTile + row) * kMaskWords +
                                           block_ % kHalves * (kBlock / 32));
  }
  __device__ __forceinline__ void begin_tiles(int begin, int end, const uint32_t* bits) {
    block_ = begin * kHalves;
    block_end_ = end * kHalves;
    bits_ = bits;
  }
  __device__ __forceinline__ bool advance() {
    if (++block_ < block_end_) return true;
    if (partial_ < lists_.partial_offsets[place() + 1]) {
      const int2 partial = lists_.partial[partial_++];
      begin_tiles(partial.x, partial.x + 1,
                  lists_.bits + int64_t{partial.y} * kMaskTile * kMaskWords);
      return true;
    }
    if (full_ == lists_.full_offsets[place() + 1]) return false;
    const int2 range = lists_.full[full_++];
    begin_tiles(range.x, range.y, nullptr);
    return true;
  }

  const DeviceTileLists& lists_;
  const int32_t* distinct_row_;
  const Item& item_;
  int other_tokens_;
  int partial_;
  int full_;
  int block_ = -1;
  int block_end_ = 0;
  const uint32_t* bits_ = nullptr;  ///< of the tile; null: all is visible
};

/// The largest value, and the sum, of the threads that have one row.
__device__ __forceinline__ float largest_of_row(float x) {
#pragma unroll
  for (int lane = kSide / 2; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, lane));
  return x;
}
__device__ __forceinline__ float sum_of_row(float x) {
#pragma unroll
  for (int lane = kSide / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(~0u, x, lane);
  return x;
}

/// Turns scores into weights exp(score - largest so far) and rescales what is summed up so far.
template <int kChunks>
__device__ __forceinline__ void weigh(Share& scores, const Walk& walk, float scale,
                                      float (&largest)[kOwn], float (&sum)[kOwn],
                                      Share (&out)[kChunks]) {
#pragma unroll
  for (int r = 0; r < kOwn; ++r) {
    const uint32_t sees = walk.sees(r);
    float now = largest[r];
#pragma unroll
    for (int c = 0; c < kOwn; ++c) {
      scores[r][c] = (sees >> c & 1) != 0 ? scores[r][c] * scale : -kInfinity;
      now = fmaxf(now, scores[r][c]);
    }
    now = largest_of_row(now);
    // While a query has seen nothing the largest is -inf, and -inf less -inf is no number.
    const float reference = now == -kInfinity ? 0.f : now;
    const float shrink = expf(largest[r] - reference);
    largest[r] = now;
    sum[r] *= shrink;
#pragma unroll
    for (int c = 0; c < kOwn; ++c) {
      scores[r][c] = expf(scores[r][c] - reference);
      sum[r] += scores[r][c];
    }
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
#pragma unroll
      for (int c = 0; c < kOwn; ++c) out[chunk][r][c] *= shrink;
    }
  }
}

/// A block of queries of one head. kChunks: 64 columns each, at least as many as values have.
template <class T, int kChunks>
__global__ void __launch_bounds__(kThreads, blocks_at_once(kChunks))
    forward_kernel(const __grid_constant__ AttentionForward work) {
  __shared__ Tile a_tile, b_tile;
  const AttentionShape& shape = work.shape;
  const Item item = item_of(work.mask.by_query, shape.heads);
  if (item.first >= shape.queries) return;
  const int kv_head = item.head / (shape.heads / shape.kv_heads);
  const auto q =
      rows_of<const T>(work.q, item.row, item.head, item.first, shape.queries, shape.head_dim);
  Share out[kChunks] = {};
  float largest[kOwn], sum[kOwn];
#pragma unroll
  for (int r = 0; r < kOwn; ++r) {
    largest[r] = -kInfinity;
    sum[r] = 0;
  }

  Walk walk(work.mask.by_query, work.mask.distinct_row, item, shape.keys);
#pragma unroll 1
  while (walk.next()) {
    const auto k =
        rows_of<const T>(work.k, item.row, kv_head, walk.first(), shape.keys, shape.head_dim);
    const auto v =
        rows_of<const T>(work.v, item.row, kv_head, walk.first(), shape.keys, shape.value_dim);
    Share scores;
    multiply_rows(scores, q, k, a_tile, b_tile);
    weigh(scores, walk, work.scale, largest, sum, out);
    add_weighted(out, scores, v, a_tile, b_tile);
  }

  float normalize[kOwn];
#pragma unroll
  for (int r = 0; r < kOwn; ++r) {
    const float whole = sum_of_row(sum[r]);
    normalize[r] = whole > 0 ? 1 / whole : 0.f;
    const int query = item.first + own_row(r);
    if (thread_column() == 0 && query < shape.queries) {
      const int64_t at = (int64_t{item.row} * shape.heads + item.head) * shape.queries + query;
      work.lse[at] = whole > 0 ? largest[r] + logf(whole) : -kInfinity;
    }
  }
  store_all(out, normalize,
            rows_of<T>(work.out, item.row, item.head, item.first, shape.queries, shape.value_dim));
}

/// delta [batch, heads, queries], the sum of out * grad_out over a query's values; a warp a query.
template <class T>
__global__ void __launch_bounds__(kThreads)
    delta_kernel(const __grid_constant__ AttentionBackward work, float* delta) {
  const AttentionShape& shape = work.shape;
  const int64_t number = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
  if (number >= int64_t{shape.batch} * shape.heads * shape.queries) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto query = static_cast<int>(number % shape.queries);
  const auto head = static_cast<int>(number / shape.queries % shape.heads);
  const auto row = static_cast<int>(number / shape.queries / shape.heads);
  const auto out = rows_of<const T>(work.out, row, head, query, shape.queries, shape.value_dim);
  const auto grad =
      rows_of<const T>(work.grad_out, row, head, query, shape.queries, shape.value_dim);
  float sum = 0;
  for (int d = lane; d < shape.value_dim; d += 32)
    sum += as_float(out.data[d]) * as_float(grad.data[d]);
#pragma unroll
  for (int other = 16; other > 0; other /= 2) sum += __shfl_xor_sync(~0u, sum, other);
  if (lane == 0) delta[number] = sum;
}

/// What backward knows of a query: weights are exp(score - lse) and the gradients of scores
/// weight * (grad_weight - delta).
struct QueryNumbers {
  float lse;
  float delta;
};

/// Reads those of the block of queries that begins at `first`. An infinite lse makes all weights 0:
/// for a query that does not exist, or sees nothing.
__device__ __forceinline__ void load_numbers(QueryNumbers (&numbers)[kBlock],
                                             const AttentionBackward& work, const float* delta,
                                             int row, int head, int first) {
  const int i = static_cast<int>(threadIdx.x);
  if (i >= kBlock) return;
  numbers[i] = {kInfinity, 0};
  if (first + i >= work.shape.queries) return;
  const int64_t at = (int64_t{row} * work.shape.heads + head) * work.shape.queries + first + i;
  const float lse = work.lse[at];
  if (lse != -kInfinity) numbers[i] = {lse, delta[at]};
}

__device__ __forceinline__ float weight_of(bool sees, float score, float scale, float lse) {
  return expf(sees ? score * scale - lse : -kInfinity);
}

/// grad_q of a block of queries of one head. kChunks: 64 columns each, at least as many as queries
/// have.
template <class T, int kChunks>
__global__ void __launch_bounds__(kThreads, blocks_at_once(kChunks))
    grad_q_kernel(const __grid_constant__ AttentionBackward work, const float* delta) {
  __shared__ Tile a_tile, b_tile;
  __shared__ QueryNumbers numbers[kBlock];
  const AttentionShape& shape = work.shape;
  const Item item = item_of(work.mask.by_query, shape.heads);
  if (item.first >= shape.queries) return;
  const int kv_head = item.head / (shape.heads / shape.kv_heads);
  const auto q =
      rows_of<const T>(work.q, item.row, item.head, item.first, shape.queries, shape.head_dim);
  const auto grad_out = rows_of<const T>(work.grad_out, item.row, item.head, item.first,
                                         shape.queries, shape.value_dim);
  load_numbers(numbers, work, delta, item.row, item.head, item.first);
  Share grad_q[kChunks] = {};

  Walk walk(work.mask.by_query, work.mask.distinct_row, item, shape.keys);
#pragma unroll 1
  while (walk.next()) {
    const auto k =
        rows_of<const T>(work.k, item.row, kv_head, walk.first(), shape.keys, shape.head_dim);
    const auto v =
        rows_of<const T>(work.v, item.row, kv_head, walk.first(), shape.keys, shape.value_dim);
    Share weights, grads;
    multiply_rows(weights, q, k, a_tile, b_tile);
#pragma unroll
    for (int r = 0; r < kOwn; ++r) {
      const uint32_t sees = walk.sees(r);
      const float lse = numbers[own_row(r)].lse;
#pragma unroll
      for (int c = 0; c < kOwn; ++c)
        weights[r][c] = weight_of((sees >> c & 1) != 0, weights[r][c], work.scale, lse);
    }
    multiply_rows(grads, grad_out, v, a_tile, b_tile);
#pragma unroll
    for (int r = 0; r < kOwn; ++r) {
      const float delta_of_row = numbers[own_row(r)].delta;
#pragma unroll
      for (int c = 0; c < kOwn; ++c) grads[r][c] = weights[r][c] * (grads[r][c] - delta_of_row);
    }
    add_weighted(grad_q, grads, k, a_tile, b_tile);
  }
  const float scale[kOwn] = {work.scale, work.scale, work.scale, work.scale};
  store_all(
      grad_q, scale,
      rows_of<T>(work.grad_q, item.row, item.head, item.first, shape.queries, shape.head_dim));
}

/// grad_k and grad_v of a block of keys of one key head, over all heads that share it. Products
/// stand with keys down and queries across. kChunks: 64 columns each, at least as many as keys and
/// values have.
template <class T, int kChunks>
__global__ void __launch_bounds__(kThreads, blocks_at_once(2 * kChunks))
    grad_kv_kernel(const __grid_constant__ AttentionBackward work, const float* delta) {
  __shared__ Tile a_tile, b_tile;
  __shared__ QueryNumbers numbers[kBlock];
  const AttentionShape& shape = work.shape;
  const Item item = item_of(work.mask.by_key, shape.kv_heads);
  if (item.first >= shape.keys) return;
  const int shared_by = shape.heads / shape.kv_heads;
  const auto k =
      rows_of<const T>(work.k, item.row, item.head, item.first, shape.keys, shape.head_dim);
  const auto v =
      rows_of<const T>(work.v, item.row, item.head, item.first, shape.keys, shape.value_dim);
  Share grad_k[kChunks] = {};
  Share grad_v[kChunks] = {};

  for (int head = item.head * shared_by; head < (item.head + 1) * shared_by; ++head) {
    Walk walk(work.mask.by_key, work.mask.distinct_row, item, shape.queries);
#pragma unroll 1
    while (walk.next()) {
      const auto q =
          rows_of<const T>(work.q, item.row, head, walk.first(), shape.queries, shape.head_dim);
      const auto grad_out = rows_of<const T>(work.grad_out, item.row, head, walk.first(),
                                             shape.queries, shape.value_dim);
      load_numbers(numbers, work, delta, item.row, head, walk.first());
      Share weights, grads;
      multiply_rows(weights, k, q, a_tile, b_tile);
#pragma unroll
      for (int r = 0; r < kOwn; ++r) {
        const uint32_t sees = walk.sees(r);
#pragma unroll
        for (int c = 0; c < kOwn; ++c) {
          weights[r][c] = weight_of((sees >> c & 1) != 0, weights[r][c], work.scale,
                                    numbers[score_column(c)].lse);
        }
      }
      multiply_rows(grads, v, grad_out, a_tile, b_tile);
#pragma unroll
      for (int r = 0; r < kOwn; ++r) {
#pragma unroll
        for (int c = 0; c < kOwn; ++c)
          grads[r][c] = weights[r][c] * (grads[r][c] - numbers[score_column(c)].delta);
      }
      add_weighted(grad_v, weights, grad_out, a_tile, b_tile);
      add_weighted(grad_k, grads, q, a_tile, b_tile);
    }
  }
  const float scale[kOwn] = {work.scale, work.scale, work.scale, work.scale};
  const float one[kOwn] = {1, 1, 1, 1};
  store_all(grad_k, scale,
            rows_of<T>(work.grad_k, item.row, item.head, item.first, shape.keys, shape.head_dim));
  store_all(grad_v, one,
            rows_of<T>(work.grad_v, item.row, item.head, item.first, shape.keys, shape.value_dim));
}

void check_shape(const AttentionShape& shape) {
  const auto is_possible = [](int dim) { return dim >= 1 && dim <= kLargestDim; };
  if (!is_possible(shape.head_dim) || !is_possible(shape.value_dim))
    throw std::runtime_error("plain attention takes head_dim and value_dim from 1 to 256");
  if (shape.kv_heads < 1 || shape.heads % shape.kv_heads != 0)
    throw std::runtime_error("plain attention takes heads that are a multiple of kv_heads");
}

/// Blocks of threads for so many items; CUDA's limit is that of an int.
unsigned grid(int64_t blocks) {
  if (blocks > INT_MAX)
    throw std::runtime_error("plain attention takes fewer than 2^31 blocks of 64 tokens and heads");
  return static_cast<unsigned>(blocks);
}

/// Calls run(integral_constant of the chunks of 64 columns that hold `dim`).
template <class Run>
void with_chunks(int dim, Run run) {
  if (dim <= kBlock) return run(std::integral_constant<int, 1>{});
  if (dim <= 2 * kBlock) return run(std::integral_constant<int, 2>{});
  return run(std::integral_constant<int, kLargestDim / kBlock>{});
}

}  // namespace

void plain_forward(const AttentionForward& work, cudaStream_t stream) {
  check_shape(work.shape);
  const unsigned blocks = grid(int64_t{work.mask.by_query.work_count} * kHalves * work.shape.heads);
  if (blocks == 0) return;
  with_type(work.type, [&](auto zero) {
    with_chunks(work.shape.value_dim, [&](auto chunks) {
      forward_kernel<decltype(zero), decltype(chunks)::value>
          <<<blocks, kThreads, 0, stream>>>(work);
    });
  });
  check(cudaGetLastError(), "starting plain attention's forward");
}

int64_t plain_backward_scratch_bytes(const AttentionShape& shape) {
  return int64_t{shape.batch} * shape.heads * shape.queries * int64_t{sizeof(float)};
}

void plain_backward(const AttentionBackward& work, cudaStream_t stream) {
  const AttentionShape& shape = work.shape;
  check_shape(shape);
  auto* const delta = static_cast<float*>(work.scratch);
  const int64_t queries = int64_t{shape.batch} * shape.heads * shape.queries;
  constexpr int kWarps = kThreads / 32;
  const unsigned delta_blocks = grid((queries + kWarps - 1) / kWarps);
  const unsigned query_blocks =
      grid(int64_t{work.mask.by_query.work_count} * kHalves * shape.heads);
  const unsigned key_blocks = grid(int64_t{work.mask.by_key.work_count} * kHalves * shape.kv_heads);
  with_type(work.type, [&](auto zero) {
    using T = decltype(zero);
    if (delta_blocks > 0) {
      delta_kernel<T><<<delta_blocks, kThreads, 0, stream>>>(work, delta);
      check(cudaGetLastError(), "starting plain attention's backward (delta)");
    }
    if (query_blocks > 0) {
      with_chunks(shape.head_dim, [&](auto chunks) {
        grad_q_kernel<T, decltype(chunks)::value>
            <<<query_blocks, kThreads, 0, stream>>>(work, delta);
      });
      check(cudaGetLastError(), "starting plain attention's backward (grad_q)");
    }
    if (key_blocks > 0) {
      with_chunks(std::max(shape.head_dim, shape.value_dim), [&](auto chunks) {
        grad_kv_kernel<T, decltype(chunks)::value>
            <<<key_blocks, kThreads, 0, stream>>>(work, delta);
      });
      check(cudaGetLastError(), "starting plain attention's backward (grad_k, grad_v)");
    }
  });
}

}  // namespace coeus::cuda
