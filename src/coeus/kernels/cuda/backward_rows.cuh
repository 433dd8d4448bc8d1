// What the backward kernel needs of each query beforehand, and its gradients' elements afterwards.
#pragma once

#include <cmath>

#include "coeus/kernels/cuda/backward_tiles.cuh"

namespace coeus::cuda::backward {

constexpr int kRowThreads = 256;

struct QueryRows {
  AttentionShape shape;
  int padded_queries;
  AttentionTensor out, grad_out, grad_q;
  const float* lse;   ///< [batch, heads, queries]
  float* lse_log2;    ///< [batch, heads, padded queries]: of base 2
  float* delta;       ///< the same shape: sum of out * grad_out
  float* query_sums;  ///< as in Arguments
  float scale;
};

/// Eight elements as floats.
template <class Element>
__device__ __forceinline__ void load_elements(float (&to)[8], const AttentionTensor& tensor,
                                              int64_t row, int64_t token, int64_t head,
                                              int column) {
  const uint4 words = *reinterpret_cast<const uint4*>(
      static_cast<const Element*>(tensor.data) + row * tensor.row_stride +
      token * tensor.token_stride + head * tensor.head_stride + column);
  const uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = unpacked<Element>(pairs[i]);
    to[2 * i] = pair.x;
    to[2 * i + 1] = pair.y;
  }
}

/// Block b takes kMaskTile queries, counted with heads innermost: neighbours in memory. For a query
/// that sees nothing, or past the end, writes a logarithm of +inf, so that exp(s - lse) is 0.
template <class Element>
__global__ void __launch_bounds__(kRowThreads) prepare_rows(QueryRows a) {
  constexpr int kLanes = 8;  // of one query
  const AttentionShape& s = a.shape;
  const int tiles = a.padded_queries / kMaskTile;
  const int head = blockIdx.x % s.heads;
  const int tile = blockIdx.x / s.heads % tiles;
  const int row = blockIdx.x / s.heads / tiles;
  const int lane = threadIdx.x % kLanes;
  const int64_t line = int64_t{row} * s.heads + head;
#pragma unroll
  for (int part = 0; part < kMaskTile / (kRowThreads / kLanes); ++part) {
    const int query = tile * kMaskTile + part * (kRowThreads / kLanes) + threadIdx.x / kLanes;
    float sum = 0;
    float lse = INFINITY;
    if (query < s.queries) {
      for (int column = lane * 8; column < s.value_dim; column += kLanes * 8) {
        float out[8], grad_out[8];
        load_elements<Element>(out, a.out, row, query, head, column);
        load_elements<Element>(grad_out, a.grad_out, row, query, head, column);
#pragma unroll
        for (int i = 0; i < 8; ++i) sum = fmaf(out[i], grad_out[i], sum);
      }
      lse = a.lse[line * s.queries + query];
      lse = lse == -INFINITY ? INFINITY : lse * kLog2E;
    }
#pragma unroll
    for (int distance = 1; distance < kLanes; distance *= 2)
      sum += __shfl_xor_sync(0xFFFFFFFF, sum, distance);
    if (lane == 0) {
      a.lse_log2[line * a.padded_queries + query] = lse;
      a.delta[line * a.padded_queries + query] = sum;
    }
  }
}

/// Writes 16 rows of kColumns columns, of which a warp's lanes hold in `from` what accumulators do,
/// by way of shared memory so that whole sectors are written.
template <class Element, int kColumns>
__device__ __forceinline__ void write_gradients(const QueryRows& a, const float* from, int row,
                                                int head, int query, int column, char* staging) {
  constexpr int kRowBytes = (hopper::kPanelColumns + 8) * 2;  // no two rows begin at one bank
  const int lane = threadIdx.x % 32;
  float4 sums[kColumns / 8];
#pragma unroll
  for (int j = 0; j < kColumns / 8; ++j)
    sums[j] = reinterpret_cast<const float4*>(from)[j * 32 + lane];
#pragma unroll
  for (int j = 0; j < kColumns / 8; ++j) {
    char* const at = staging + lane / 4 * kRowBytes + (8 * j + hopper::column_of(lane)) * 2;
    *reinterpret_cast<uint32_t*>(at) =
        hopper::packed<Element>(sums[j].x * a.scale, sums[j].y * a.scale);
    *reinterpret_cast<uint32_t*>(at + 8 * kRowBytes) =
        hopper::packed<Element>(sums[j].z * a.scale, sums[j].w * a.scale);
  }
  __syncwarp();
  constexpr int kLanes = kColumns / 8;  // of one row
#pragma unroll
  for (int i = lane / kLanes; i < 16; i += 32 / kLanes) {
    const int at = column + lane % kLanes * 8;
    if (query + i < a.shape.queries && at < a.shape.head_dim)
      *reinterpret_cast<uint4*>(static_cast<Element*>(a.grad_q.data) + row * a.grad_q.row_stride +
                                (query + i) * a.grad_q.token_stride + head * a.grad_q.head_stride +
                                at) =
          *reinterpret_cast<const uint4*>(staging + i * kRowBytes + lane % kLanes * 16);
  }
  __syncwarp();
}

/// grad_q = scale * sums; block b takes the b-th of the sums' blocks.
template <class Element, class Tiles>
__global__ void __launch_bounds__(kRowThreads) finish_rows(QueryRows a) {
  static_assert(kRowThreads == kConsumerWarps * 32);
  __shared__ alignas(16) char staging[kConsumerWarps][16 * (hopper::kPanelColumns + 8) * 2];
  const int blocks = a.padded_queries / Tiles::kQueries;
  const int line = blockIdx.x / blocks;
  const int row = line / a.shape.heads;
  const int head = line % a.shape.heads;
  const int warp = threadIdx.x / 32;
  const int warpgroup = warp / 4;
  const int query = blockIdx.x % blocks * Tiles::kQueries + warp % 4 * 16 +
                    (Tiles::kSplitQueries ? warpgroup * 64 : 0);
  const float* const from =
      a.query_sums + int64_t{blockIdx.x} * Tiles::kBlockFloats + warp * Tiles::kWarpFloats;
  write_gradients<Element, Tiles::kFirstColumns>(
      a, from, row, head, query, Tiles::kSplitQueries ? 0 : warpgroup * Tiles::kFirstColumns,
      staging[warp]);
  if constexpr (Tiles::kSecondColumns > 0)
    write_gradients<Element, Tiles::kSecondColumns>(
        a, from + 16 * Tiles::kFirstColumns, row, head, query,
        2 * Tiles::kFirstColumns + warpgroup * Tiles::kSecondColumns, staging[warp]);
}

}  // namespace coeus::cuda::backward
