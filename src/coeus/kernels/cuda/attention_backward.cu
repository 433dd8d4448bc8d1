// Block-sparse flash attention backward on Hopper (FlashAttention-3: Shah et al., arXiv
// 2407.08608).
//
// A kernel takes of each query what all its keys need, the main kernel computes, and a third turns
// sums of query gradients into elements. A block of the main kernel is one warpgroup that copies
// and two that compute. Blocks stay; they take tiles of keys of one key head, heaviest first, from
// a counter. A tile meets all queries of all heads that share it, so that its gradients stay in
// registers; those of queries are added up in memory.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "coeus/kernels/cuda/attention.h"
#include "coeus/kernels/cuda/backward_consumer.cuh"
#include "coeus/kernels/cuda/backward_producer.cuh"
#include "coeus/kernels/cuda/backward_rows.cuh"
#include "coeus/kernels/cuda/backward_tiles.cuh"
#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/hopper/tensor_map.h"

namespace coeus::cuda {
namespace {

using namespace backward;

template <class Element, class Tiles, bool kInOrder>
__global__ void __launch_bounds__(kThreads, 1)
    backward_kernel(const __grid_constant__ Arguments a) {
  extern __shared__ __align__(1024) char memory[];
  Shared<Tiles>& shared = *reinterpret_cast<Shared<Tiles>*>(memory);
  static_assert(sizeof(Shared<Tiles>) <= kSharedLimit);

  if (threadIdx.x == 0) {
    if (hopper::shared_address(memory) % 1024 != 0) __trap();
    hopper::prefetch(a.q);
    hopper::prefetch(a.k);
    hopper::prefetch(a.v);
    hopper::prefetch(a.grad_out);
    for (int i = 0; i < Tiles::kQueryStages; ++i) {
      shared.q_full[i].init(1);
      shared.q_empty[i].init(kConsumerWarps);
    }
    for (int i = 0; i < kGradOutStages; ++i) {
      shared.grad_out_full[i].init(1);
      shared.grad_out_empty[i].init(kConsumerWarps);
    }
    shared.kv_full.init(1);
    shared.kv_empty.init(kConsumers);
    hopper::fence_barrier_init();
  }
  __syncthreads();

  if (threadIdx.x < hopper::kWarpgroupThreads) {
    hopper::give_up_registers<kProducerRegisters>();
    if (threadIdx.x < 32) produce<Tiles, kInOrder>(a, shared);
  } else {
    hopper::take_registers<kConsumerRegisters>();
    consume<Element, Tiles, kInOrder>(a, shared);
  }
}

int rounded(int dim) {
  return (dim + hopper::kPanelColumns - 1) / hopper::kPanelColumns * hopper::kPanelColumns;
}

/// kHeadDim of the smallest tiles that take the dims.
int tile_head_dim(const AttentionShape& shape) {
  return std::max(rounded(shape.head_dim), rounded(shape.value_dim));
}

constexpr int kFewestQueries = 64;  ///< of a step, whatever the tiles

/// Pieces of the scratch, each at a multiple of 256 bytes: what begins as zeros first.
struct Scratch {
  explicit Scratch(const AttentionShape& shape) {
    const int64_t rows = int64_t{shape.batch} * shape.heads * shape.padded_queries();
    query_sums = take(rows * tile_head_dim(shape) * 4);
    counter = take(4);
    turns = take(rows / kFewestQueries * kConsumerWarps * 4);
    zeros = bytes;
    lse = take(rows * 4);
    delta = take(rows * 4);
  }
  int64_t query_sums, counter, turns, lse, delta;
  int64_t zeros;      ///< bytes
  int64_t bytes = 0;  ///< of all

 private:
  int64_t take(int64_t size) {
    const int64_t at = bytes;
    bytes += (size + 255) / 256 * 256;
    return at;
  }
};

/// How many key heads to work on at a time, so that what blocks meet of their queries, one query
/// head of each at a time, stays in the L2 cache.
int kv_heads_per_group(const AttentionShape& shape) {
  constexpr int64_t kCacheBytes = int64_t{128} << 20;
  const int64_t bytes_per_head =
      int64_t{shape.batch} * shape.queries * (6 * shape.head_dim + 2 * shape.value_dim);
  int heads = static_cast<int>(
      std::clamp(kCacheBytes / bytes_per_head, int64_t{1}, int64_t{shape.kv_heads}));
  while (shape.kv_heads % heads != 0) --heads;
  return heads;
}

template <class Element, class Tiles, bool kInOrder>
void launch(const AttentionBackward& work, cudaStream_t stream) {
  const AttentionShape& s = work.shape;
  const Scratch scratch(s);
  const auto place = [&](int64_t at) { return static_cast<char*>(work.scratch) + at; };
  const auto floats = [&](int64_t at) { return reinterpret_cast<float*>(place(at)); };
  check(cudaMemsetAsync(work.scratch, 0, scratch.zeros, stream), "cudaMemsetAsync");

  const int padded_queries = static_cast<int>(s.padded_queries());
  const QueryRows rows = {s,
                          padded_queries,
                          work.out,
                          work.grad_out,
                          work.grad_q,
                          work.lse,
                          floats(scratch.lse),
                          floats(scratch.delta),
                          floats(scratch.query_sums),
                          work.scale};
  const int64_t query_tiles = int64_t{s.batch} * s.heads * (padded_queries / kMaskTile);
  prepare_rows<Element><<<static_cast<unsigned>(query_tiles), kRowThreads, 0, stream>>>(rows);
  check(cudaGetLastError(), "starting the kernel before backward");

  Arguments a;
  a.q = hopper::tensor_map(work.q, work.type, s.batch, s.queries, s.heads, s.head_dim,
                           Tiles::kQueries);
  a.k = hopper::tensor_map(work.k, work.type, s.batch, s.keys, s.kv_heads, s.head_dim, kKeys);
  a.v = hopper::tensor_map(work.v, work.type, s.batch, s.keys, s.kv_heads, s.value_dim, kKeys);
  a.grad_out = hopper::tensor_map(work.grad_out, work.type, s.batch, s.queries, s.heads,
                                  s.value_dim, Tiles::kQueries);
  a.grad_k = hopper::tensor_map(work.grad_k, work.type, s.batch, s.keys, s.kv_heads, s.head_dim,
                                kWarpgroupKeys);
  a.grad_v = hopper::tensor_map(work.grad_v, work.type, s.batch, s.keys, s.kv_heads, s.value_dim,
                                kWarpgroupKeys);
  a.lists = work.mask.by_key;
  a.distinct_row = work.mask.distinct_row;
  a.lse = rows.lse_log2;
  a.delta = rows.delta;
  a.query_sums = rows.query_sums;
  a.counter = reinterpret_cast<int*>(place(scratch.counter));
  a.turns = reinterpret_cast<int*>(place(scratch.turns));
  a.items = a.lists.work_count * s.kv_heads;
  a.heads = s.heads;
  a.kv_heads = s.kv_heads;
  a.kv_heads_per_group = kv_heads_per_group(s);
  a.queries = s.queries;
  a.padded_queries = padded_queries;
  a.scale = work.scale;

  const auto kernel = backward_kernel<Element, Tiles, kInOrder>;
  constexpr int kBytes = sizeof(Shared<Tiles>);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "cudaFuncSetAttribute");
  const int blocks = std::min(device_attribute(cudaDevAttrMultiProcessorCount), a.items);
  kernel<<<blocks, kThreads, kBytes, stream>>>(a);
  check(cudaGetLastError(), "starting the backward kernel");

  const int64_t sum_blocks = int64_t{s.batch} * s.heads * (padded_queries / Tiles::kQueries);
  finish_rows<Element, Tiles><<<static_cast<unsigned>(sum_blocks), kRowThreads, 0, stream>>>(rows);
  check(cudaGetLastError(), "starting the kernel after backward");
}

template <class Element, class Tiles>
void launch_in_any_order(const AttentionBackward& work, cudaStream_t stream) {
  work.deterministic ? launch<Element, Tiles, true>(work, stream)
                     : launch<Element, Tiles, false>(work, stream);
}

template <class Element>
void launch_by_dims(const AttentionBackward& work, cudaStream_t stream) {
  const int dim = tile_head_dim(work.shape);
  if (dim == 64) return launch_in_any_order<Element, Tiles<64, 64>>(work, stream);
  if (dim == 128) return launch_in_any_order<Element, Tiles<128, 128>>(work, stream);
  return launch_in_any_order<Element, Tiles<192, 128>>(work, stream);
}

}  // namespace

bool hopper_takes(const AttentionBackward& work) {
  const AttentionShape& s = work.shape;
  return work.type != ElementType::kFloat32 && s.queries > 0 && s.keys > 0 && s.head_dim % 8 == 0 &&
         s.value_dim % 8 == 0 && s.head_dim <= 192 && s.value_dim <= std::min(s.head_dim, 128) &&
         hopper::suits_copies(work.q) && hopper::suits_copies(work.k) &&
         hopper::suits_copies(work.v) && hopper::suits_copies(work.out) &&
         hopper::suits_copies(work.grad_out) && hopper::suits_copies(work.grad_q) &&
         hopper::suits_copies(work.grad_k) && hopper::suits_copies(work.grad_v) &&
         device_attribute(cudaDevAttrComputeCapabilityMajor) == 9;
}

void hopper_backward(const AttentionBackward& work, cudaStream_t stream) {
  if (work.mask.by_key.work_count == 0) return;
  if (work.type == ElementType::kFloat16)
    launch_by_dims<__half>(work, stream);
  else
    launch_by_dims<__nv_bfloat16>(work, stream);
}

int64_t hopper_backward_scratch_bytes(const AttentionShape& shape) { return Scratch(shape).bytes; }

}  // namespace coeus::cuda
