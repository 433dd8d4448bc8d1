// Sizes of the backward kernel's tiles, what a block holds in shared memory, and where the sums of
// query gradients stand.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <type_traits>

#include "coeus/kernels/cuda/attention.h"
#include "coeus/kernels/cuda/exponential.cuh"
#include "coeus/kernels/cuda/hopper/barrier.cuh"
#include "coeus/kernels/cuda/hopper/tensor_map.h"
#include "coeus/kernels/cuda/hopper/wgmma.cuh"

namespace coeus::cuda::backward {

constexpr int kConsumers = 2;  ///< warpgroups that compute, each with half of a tile's keys
constexpr int kConsumerWarps = kConsumers * hopper::kWarpgroupThreads / 32;
constexpr int kThreads = (1 + kConsumers) * hopper::kWarpgroupThreads;
// A block starts with 168 registers a thread, 504 for three: a consumer waits for ever for more.
constexpr int kProducerRegisters = 24;
constexpr int kConsumerRegisters = 240;
constexpr int kKeys = kMaskTile;
constexpr int kWarpgroupKeys = kKeys / kConsumers;
constexpr int kGradOutStages = 2;
constexpr int kPanelRowBytes = hopper::kPanelColumns * 2;
constexpr int kKeyPanelBytes = kKeys * kPanelRowBytes;
constexpr int kSharedLimit = 227 * 1024;

/// A step is kQueries queries of one head by kKeys keys.
template <int kHeadDimension, int kValueDimension>
struct Tiles {
  static constexpr int kHeadDim = kHeadDimension;
  static constexpr int kValueDim = kValueDimension;
  static_assert(kHeadDim % hopper::kPanelColumns == 0 && kValueDim % hopper::kPanelColumns == 0);
  /// As many as the accumulators leave registers for.
  static constexpr int kQueries = kHeadDim == 64 ? 128 : 64;
  static constexpr int kStepsPerTile = kMaskTile / kQueries;
  /// Whether registers can hold scores and gradients of weights, both in float32, at once.
  static constexpr bool kHoldsBoth = kHeadDim <= 128;
  /// Whether weights stay in float32 until their gradients are there.
  static constexpr bool kKeepsWeights = kHeadDim == 128;
  static constexpr int kQueryStages = kHoldsBoth ? 3 : 2;
  /// Whether registers are added to the sums of query gradients by themselves, or by the copy
  /// engine, which is faster (by 2 % on an H200) unless products come in pieces (by 7 % slower).
  static constexpr bool kAddsFromRegisters = !kHoldsBoth;

  static constexpr int kQueryPanelBytes = kQueries * kPanelRowBytes;
  static constexpr int kKBytes = kHeadDim / hopper::kPanelColumns * kKeyPanelBytes;
  static constexpr int kVBytes = kValueDim / hopper::kPanelColumns * kKeyPanelBytes;
  static constexpr int kQBytes = kHeadDim / hopper::kPanelColumns * kQueryPanelBytes;
  static constexpr int kGradOutBytes = kValueDim / hopper::kPanelColumns * kQueryPanelBytes;
  static constexpr int kScoreBytes = kQueries / hopper::kPanelColumns * kKeyPanelBytes;

  // A step's query gradients are shared out among the warps. With 128 queries a warpgroup takes 64
  // of them and all columns, with 64 it takes half of the columns: a panel, and of the third panel
  // half.
  static constexpr bool kSplitQueries = kQueries == 128;
  static constexpr int kFirstColumns = hopper::kPanelColumns;
  static constexpr int kSecondColumns = kHeadDim == 192 ? hopper::kPanelColumns / 2 : 0;
  static constexpr int kWarpFloats = 16 * (kFirstColumns + kSecondColumns);
  static constexpr int kBlockFloats = kQueries * kHeadDim;
  static_assert(kBlockFloats == kConsumerWarps * kWarpFloats);
};

/// What the producer tells the consumers with each stage of queries.
struct Step {
  int block;  ///< of the sums that the step adds to; or, without queries, one of those below
  int mask;   ///< entry of a partial tile * kStepsPerTile + step in it, or -1 for a full one
  int turn;   ///< of those that add to the block, where the order counts
  // Of the item that has ended:
  int row;
  int tile;
  int kv_head;
};
constexpr int kEndOfItem = -1;
constexpr int kEndOfWork = -2;

template <class Tiles>
struct alignas(1024) Shared {
  // Tiles of TMA and wgmma: each takes a multiple of 1024 bytes.
  char k[Tiles::kKBytes];  ///< after an item's last step its gradients, likewise v
  char v[Tiles::kVBytes];
  char q[Tiles::kQueryStages][Tiles::kQBytes];
  char grad_out[kGradOutStages][Tiles::kGradOutBytes];
  char score_gradients[2][Tiles::kScoreBytes];  ///< [keys, queries]
  float query_gradients[kConsumerWarps][16 * Tiles::kFirstColumns];
  float lse[kGradOutStages][Tiles::kQueries];  ///< of base 2
  float delta[kGradOutStages][Tiles::kQueries];
  hopper::Barrier q_full[Tiles::kQueryStages], q_empty[Tiles::kQueryStages];
  hopper::Barrier grad_out_full[kGradOutStages], grad_out_empty[kGradOutStages];
  hopper::Barrier kv_full, kv_empty;
  Step steps[Tiles::kQueryStages];
};

struct Arguments {
  CUtensorMap q, k, v, grad_out, grad_k, grad_v;
  DeviceTileLists lists;  ///< by key
  const int32_t* distinct_row;
  const float* lse;    ///< [batch, heads, padded queries], of base 2
  const float* delta;  ///< the same shape
  float* query_sums;   ///< blocks of Tiles::kBlockFloats, [batch, heads, padded queries / kQueries]
  int* turns;          ///< [blocks, kConsumerWarps]: whose turn it is to add a warp's part
  int* counter;        ///< of items taken, beyond the first of each block unless in order
  int items;
  int heads;
  int kv_heads;
  int kv_heads_per_group;  ///< worked on at a time
  int queries;
  int padded_queries;
  float scale;
};

/// Two elements as floats; the first in the low half.
template <class Element>
__device__ __forceinline__ float2 unpacked(uint32_t both) {
  if constexpr (std::is_same_v<Element, __half>)
    return __half22float2(reinterpret_cast<const __half2&>(both));
  else
    return {__uint_as_float(both << 16), __uint_as_float(both & 0xFFFF0000)};
}

}  // namespace coeus::cuda::backward
