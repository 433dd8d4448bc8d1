// Block-sparse flash attention forward on Hopper (FlashAttention-3: Shah et al., arXiv 2407.08608).
//
// A block of threads is one warpgroup that copies and two that compute, each 64 queries of a tile
// of 128. Blocks stay; they take tiles of queries of one head, heaviest first, from a counter.
// While one warpgroup multiplies, the other computes its softmax (named barriers take turns), and
// within each the product of a step's weights and values runs while the next step's scores are made
// and weighed.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>

#include "coeus/kernels/cuda/attention.h"
#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/exponential.cuh"
#include "coeus/kernels/cuda/hopper/barrier.cuh"
#include "coeus/kernels/cuda/hopper/copy.cuh"
#include "coeus/kernels/cuda/hopper/tensor_map.h"
#include "coeus/kernels/cuda/hopper/wgmma.cuh"

namespace coeus::cuda {
namespace {

using namespace hopper;

constexpr int kConsumers = 2;
constexpr int kWarpgroupQueries = kMaskTile / kConsumers;
constexpr int kThreads = (1 + kConsumers) * kWarpgroupThreads;
constexpr int kConsumerWarps = kConsumers * 4;
constexpr int kStages = 2;
constexpr int kWorkStages = 2;
// Together what kThreads threads start with, or taking would wait for ever.
constexpr int kProducerRegisters = 24;
constexpr int kConsumerRegisters = 240;
constexpr int kTurnBarrier = 1;                         ///< and the next: the consumers' turns
constexpr int kOwnBarrier = kTurnBarrier + kConsumers;  ///< and the next: one consumer by itself
constexpr int kSharedMemory = 227 * 1024;
constexpr float kInfinity = INFINITY;

struct ForwardArguments {
  CUtensorMap q, k, v, out;
  DeviceTileLists lists;
  const int32_t* distinct_row;
  float* lse;
  int* counter;
  int items;
  int heads;
  int heads_per_group;
  int heads_per_kv_head;
  int queries;
  float scale;
};

/// What a block does at a time: a tile of queries of one head.
struct Item {
  int row;
  int tile;
  int head;
  int list;  ///< where its tile lists begin
};

__device__ __forceinline__ Item item_at(const ForwardArguments& a, int number) {
  const int group_items = a.lists.work_count * a.heads_per_group;
  const int group = number / group_items;
  const int within = number % group_items;
  const int2 work = a.lists.work[within / a.heads_per_group];
  return {work.x, work.y, group * a.heads_per_group + within % a.heads_per_group,
          a.distinct_row[work.x] * a.lists.tiles + work.y};
}

/// What the producer tells the consumers of the next item.
struct WorkNote {
  int number;         ///< past the last: stop
  int partial_begin;  ///< where its partial tiles stand
  int partial_count;
  int steps;
};

template <int kHeadDim, int kValueDim, int kKeys>
struct Tiles {
  static constexpr int kPanel = kPanelColumns * 2;  ///< bytes of a panel's row
  static constexpr int kQPanelBytes = kMaskTile * kPanel;
  static constexpr int kKeyPanelBytes = kKeys * kPanel;
  static constexpr int kQBytes = kHeadDim / kPanelColumns * kQPanelBytes;
  static constexpr int kKBytes = kHeadDim / kPanelColumns * kKeyPanelBytes;
  static constexpr int kVBytes = kValueDim / kPanelColumns * kKeyPanelBytes;
  static constexpr int kOutBytes = kValueDim / kPanelColumns * kQPanelBytes;
  static constexpr int kOperandBytes = kQBytes + kStages * (kKBytes + kVBytes);
  /// What is besides operands: barriers and notes.
  static constexpr int kControlBytes = 1024;
  /// Whether results have a place of their own, or take that of the queries.
  static constexpr bool kOutApart =
      kOperandBytes + kOutBytes + kControlBytes + 1024 <= kSharedMemory;
  static constexpr int kBytes = kOperandBytes + (kOutApart ? kOutBytes : 0) + kControlBytes;
  static_assert(kBytes + 1024 <= kSharedMemory);
  static_assert(kOutBytes <= kQBytes || kOutApart);
};

struct Control {
  Barrier q_full, q_empty;
  Barrier k_full[kStages], k_empty[kStages];
  Barrier v_full[kStages], v_empty[kStages];
  Barrier work_full[kWorkStages], work_empty[kWorkStages];
  WorkNote notes[kWorkStages];
};
static_assert(sizeof(Control) <= 1024);

template <class Shape, int kHeadDim, int kValueDim, int kKeys>
__device__ __forceinline__ void produce(const ForwardArguments& a, char* q, char* k, char* v,
                                        Control& control) {
  RingPlace<kWorkStages> work;
  RingPlace<kStages> stage;
  uint32_t q_parity = 0;
  for (;;) {
    const int number = atomicAdd(a.counter, 1);
    WorkNote note{number, 0, 0, 0};
    Item item{};
    int full_begin = 0, full_end = 0;
    if (number < a.items) {
      item = item_at(a, number);
      note.partial_begin = a.lists.partial_offsets[item.list];
      note.partial_count = a.lists.partial_offsets[item.list + 1] - note.partial_begin;
      full_begin = a.lists.full_offsets[item.list];
      full_end = a.lists.full_offsets[item.list + 1];
      int visits = note.partial_count;
      for (int i = full_begin; i < full_end; ++i) visits += a.lists.full[i].y - a.lists.full[i].x;
      note.steps = visits * (kMaskTile / kKeys);
    }
    control.work_empty[work.stage].wait(work.parity ^ 1);
    control.notes[work.stage] = note;
    control.work_full[work.stage].arrive();
    work.advance();
    if (number >= a.items) return;

    bool has_queries = false;
    const int kv_head = item.head / a.heads_per_kv_head;
    const auto visit = [&](int tile) {
#pragma unroll
      for (int part = 0; part < kMaskTile / kKeys; ++part) {
        const int key = tile * kMaskTile + part * kKeys;
        control.k_empty[stage.stage].wait(stage.parity ^ 1);
        control.k_full[stage.stage].arrive_expecting(Shape::kKBytes);
#pragma unroll
        for (int p = 0; p < kHeadDim / kPanelColumns; ++p)
          load_tile(k + stage.stage * Shape::kKBytes + p * Shape::kKeyPanelBytes, a.k,
                    control.k_full[stage.stage], p * kPanelColumns, kv_head, key, item.row);
        if (!has_queries) {
          // Only now: the first keys are on their way while the last item's queries are in use.
          has_queries = true;
          control.q_empty.wait(q_parity ^ 1);
          q_parity ^= 1;
          control.q_full.arrive_expecting(Shape::kQBytes);
#pragma unroll
          for (int p = 0; p < kHeadDim / kPanelColumns; ++p)
            load_tile(q + p * Shape::kQPanelBytes, a.q, control.q_full, p * kPanelColumns,
                      item.head, item.tile * kMaskTile, item.row);
        }
        control.v_empty[stage.stage].wait(stage.parity ^ 1);
        control.v_full[stage.stage].arrive_expecting(Shape::kVBytes);
#pragma unroll
        for (int p = 0; p < kValueDim / kPanelColumns; ++p)
          load_tile(v + stage.stage * Shape::kVBytes + p * Shape::kKeyPanelBytes, a.v,
                    control.v_full[stage.stage], p * kPanelColumns, kv_head, key, item.row);
        stage.advance();
      }
    };
    for (int i = 0; i < note.partial_count; ++i) visit(a.lists.partial[note.partial_begin + i].x);
    for (int i = full_begin; i < full_end; ++i)
      for (int tile = a.lists.full[i].x; tile < a.lists.full[i].y; ++tile) visit(tile);
    if (!Shape::kOutApart && !has_queries) {
      // The zeros of queries that see nothing pass through the queries' place.
      control.q_empty.wait(q_parity ^ 1);
      q_parity ^= 1;
      control.q_full.arrive();
    }
  }
}

/// The running softmax of a thread's two rows.
struct Softmax {
  float max[2] = {-kInfinity, -kInfinity};
  float sum[2] = {0, 0};  ///< of this thread's columns

  /// Turns scores into weights, in place; what was gathered before is to be multiplied by `factor`.
  template <int kKeys>
  __device__ __forceinline__ void weigh(float (&s)[kKeys / 2], float scale_log2,
                                        float (&factor)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float highest = max[r];
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j)
        highest = fmaxf(highest, fmaxf(s[4 * j + 2 * r], s[4 * j + 2 * r + 1]));
      highest = fmaxf(highest, __shfl_xor_sync(0xFFFFFFFF, highest, 1));
      highest = fmaxf(highest, __shfl_xor_sync(0xFFFFFFFF, highest, 2));
      // A row that has seen nothing yet: its scores are -inf, and 2^(-inf - 0) is 0.
      const float shift = highest == -kInfinity ? 0 : highest * scale_log2;
      factor[r] = exp2_fast(max[r] * scale_log2 - shift);
      max[r] = highest;
      float added = 0;
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          float& at = s[4 * j + 2 * r + c];
          at = exp2_fast(fmaf(at, scale_log2, -shift));
          added += at;
        }
      sum[r] = sum[r] * factor[r] + added;
    }
  }
};

/// The bits of this thread's two rows in a partial tile.
struct MaskBits {
  uint4 rows[2];

  __device__ __forceinline__ void load(const uint32_t* bits, int entry, int row) {
    const uint4* const at = reinterpret_cast<const uint4*>(bits) + int64_t{entry} * kMaskTile + row;
    rows[0] = __ldg(at);
    rows[1] = __ldg(at + 8);
  }
  /// Hides scores of keys [part * kKeys, (part + 1) * kKeys) of the tile.
  template <int kKeys>
  __device__ __forceinline__ void hide(float (&s)[kKeys / 2], int part, int column) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      uint32_t words[kMaskWords] = {rows[r].x, rows[r].y, rows[r].z, rows[r].w};
#pragma unroll
      for (int w = 0; w < kKeys / 32; ++w) {
        // Tests of bits at places known to the compiler become predicates without shifts.
        uint32_t word = words[w];
        if (kKeys < kMaskTile && part == 1) word = words[(w + kKeys / 32) % kMaskWords];
        word >>= column;
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int c = 0; c < 2; ++c)
            if (!(word & (1U << (8 * j + c)))) s[16 * w + 4 * j + 2 * r + c] = -kInfinity;
      }
    }
  }
};

template <class Element, int kKeys>
__device__ __forceinline__ void pack(const float (&s)[kKeys / 2], uint32_t (&p)[kKeys / 4]) {
#pragma unroll
  for (int i = 0; i < kKeys / 4; ++i) p[i] = packed<Element>(s[2 * i], s[2 * i + 1]);
}

template <class Element, class Shape, int kHeadDim, int kKeys>
__device__ __forceinline__ void multiply_scores(float (&s)[kKeys / 2], Operand q, uint32_t k) {
  const Operand keys = row_operand(k);
#pragma unroll
  for (int d = 0; d < kHeadDim / 16; ++d)
    wgmma<Element, kKeys, Along::kRows, Along::kRows>(
        s, q.at(d / 4 * Shape::kQPanelBytes + d % 4 * 32),
        keys.at(d / 4 * Shape::kKeyPanelBytes + d % 4 * 32), d != 0);
}

template <class Element, class Shape, int kValueDim, int kKeys>
__device__ __forceinline__ void multiply_values(float (&out)[kValueDim / 2],
                                                const uint32_t (&p)[kKeys / 4], uint32_t v) {
  const Operand values = column_operand(v, Shape::kKeyPanelBytes);
#pragma unroll
  for (int j = 0; j < kKeys / 16; ++j)
    wgmma<Element, kValueDim, Along::kColumns>(out, p + 4 * j, values.at(j * 16 * Shape::kPanel),
                                               true);
}

template <class Element, class Shape, int kHeadDim, int kValueDim, int kKeys>
__device__ __forceinline__ void consume(const ForwardArguments& a, char* q, char* k, char* v,
                                        char* out_tile, Control& control) {
  const int warpgroup = threadIdx.x / kWarpgroupThreads - 1;
  const int thread = threadIdx.x % kWarpgroupThreads;
  const int row = warpgroup * kWarpgroupQueries + row_of(thread);  // of the tile
  const int column = column_of(thread);
  const bool signals = thread % 32 == 0;
  const float scale_log2 = a.scale * kLog2E;
  const Operand q_operand =
      row_operand(shared_address(q) + warpgroup * kWarpgroupQueries * Shape::kPanel);
  const uint32_t k_shared = shared_address(k);
  const uint32_t v_shared = shared_address(v);
  const int own_turn = kTurnBarrier + warpgroup;
  const int other_turn = kTurnBarrier + 1 - warpgroup;
  constexpr int kBoth = kConsumers * kWarpgroupThreads;
  constexpr int kParts = kMaskTile / kKeys;

  RingPlace<kWorkStages> work;
  RingPlace<kStages> scores_at;
  RingPlace<kStages> values_at;
  uint32_t q_parity = 0;
  if (warpgroup == 1) named_arrive(kTurnBarrier, kBoth);  // the first turn is that of the first

  for (;;) {
    control.work_full[work.stage].wait(work.parity);
    const WorkNote note = control.notes[work.stage];
    __syncwarp();
    if (signals) control.work_empty[work.stage].arrive();
    work.advance();
    if (note.number >= a.items) break;
    const Item item = item_at(a, note.number);

    float out[kValueDim / 2];
#pragma unroll
    for (float& x : out) x = 0;
    Softmax softmax;

    if (note.steps > 0 || !Shape::kOutApart) {
      control.q_full.wait(q_parity);
      q_parity ^= 1;
    }
    if (note.steps > 0) {
      float s[kKeys / 2];
      uint32_t p[kKeys / 4];
      float factor[2];
      MaskBits bits;
      const auto load_bits = [&](int step) {
        if (step / kParts < note.partial_count && step % kParts == 0)
          bits.load(a.lists.bits, a.lists.partial[note.partial_begin + step / kParts].y, row);
      };
      const auto hide = [&](int step) {
        if (step / kParts < note.partial_count) bits.template hide<kKeys>(s, step % kParts, column);
      };
      const auto release = [&](Barrier& barrier) {
        if (signals) barrier.arrive();
      };

      load_bits(0);
      control.k_full[scores_at.stage].wait(scores_at.parity);
      wgmma_fence();
      multiply_scores<Element, Shape, kHeadDim, kKeys>(s, q_operand,
                                                       k_shared + scores_at.stage * Shape::kKBytes);
      wgmma_commit();
      wgmma_wait<0>();
      pin(s);
      release(control.k_empty[scores_at.stage]);
      scores_at.advance();
      hide(0);
      softmax.template weigh<kKeys>(s, scale_log2, factor);
      pack<Element, kKeys>(s, p);

      for (int step = 1; step < note.steps; ++step) {
        load_bits(step);
        control.k_full[scores_at.stage].wait(scores_at.parity);
        named_wait(own_turn, kBoth);
        pin(s);
        pin(out);
        wgmma_fence();
        multiply_scores<Element, Shape, kHeadDim, kKeys>(
            s, q_operand, k_shared + scores_at.stage * Shape::kKBytes);
        wgmma_commit();
        control.v_full[values_at.stage].wait(values_at.parity);
        multiply_values<Element, Shape, kValueDim, kKeys>(
            out, p, v_shared + values_at.stage * Shape::kVBytes);
        wgmma_commit();
        named_arrive(other_turn, kBoth);
        wgmma_wait<1>();
        pin(s);
        release(control.k_empty[scores_at.stage]);
        scores_at.advance();
        hide(step);
        softmax.template weigh<kKeys>(s, scale_log2, factor);
        wgmma_wait<0>();
        pin(out);
        release(control.v_empty[values_at.stage]);
        values_at.advance();
        pack<Element, kKeys>(s, p);
#pragma unroll
        for (int i = 0; i < kValueDim / 2; ++i) out[i] *= factor[i % 4 / 2];
      }
      if (Shape::kOutApart) release(control.q_empty);
      control.v_full[values_at.stage].wait(values_at.parity);
      pin(out);
      wgmma_fence();
      multiply_values<Element, Shape, kValueDim, kKeys>(
          out, p, v_shared + values_at.stage * Shape::kVBytes);
      wgmma_commit();
      wgmma_wait<0>();
      pin(out);
      release(control.v_empty[values_at.stage]);
      values_at.advance();
    }

    // The rows' sums, their logarithms and the means.
    float inverse[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float sum = softmax.sum[r];
      sum += __shfl_xor_sync(0xFFFFFFFF, sum, 1);
      sum += __shfl_xor_sync(0xFFFFFFFF, sum, 2);
      inverse[r] = sum == 0 ? 0 : 1 / sum;
      const int query = item.tile * kMaskTile + row + 8 * r;
      if (column == 0 && query < a.queries)
        a.lse[(int64_t{item.row} * a.heads + item.head) * a.queries + query] =
            sum == 0 ? -kInfinity : softmax.max[r] * a.scale + logf(sum);
    }
    if (Shape::kOutApart) {
      // The last item's results may still be on their way out.
      if (thread == 0) wait_stores_read<0>();
      named_wait(kOwnBarrier + warpgroup, kWarpgroupThreads);
    }
    // Without a place of their own, results overwrite this warpgroup's queries, which only it
    // reads.
    char* const rows = out_tile + warpgroup * kWarpgroupQueries * Shape::kPanel;
    const int in_group = row_of(thread);
#pragma unroll
    for (int j = 0; j < kValueDim / 8; ++j)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int at =
            (in_group + 8 * r) * Shape::kPanel + ((j % 8) ^ (in_group % 8)) * 16 + column * 2;
        *reinterpret_cast<uint32_t*>(rows + j / 8 * Shape::kQPanelBytes + at) =
            packed<Element>(out[4 * j + 2 * r] * inverse[r], out[4 * j + 2 * r + 1] * inverse[r]);
      }
    fence_shared_writes();
    named_wait(kOwnBarrier + warpgroup, kWarpgroupThreads);
    if (thread == 0) {
#pragma unroll
      for (int p = 0; p < kValueDim / kPanelColumns; ++p)
        store_tile(a.out, rows + p * Shape::kQPanelBytes, p * kPanelColumns, item.head,
                   item.tile * kMaskTile + warpgroup * kWarpgroupQueries, item.row);
      commit_stores();
      if (!Shape::kOutApart) wait_stores_read<0>();
    }
    if (!Shape::kOutApart) {
      named_wait(kOwnBarrier + warpgroup, kWarpgroupThreads);
      if (signals) control.q_empty.arrive();
    }
  }
  // Shared memory must outlive what is copied out of it.
  if (thread == 0) wait_stores_read<0>();
}

template <class Element, int kHeadDim, int kValueDim, int kKeys>
__global__ void __launch_bounds__(kThreads, 1)
    forward_kernel(const __grid_constant__ ForwardArguments a) {
  using Shape = Tiles<kHeadDim, kValueDim, kKeys>;
  extern __shared__ char memory[];
  // Swizzled tiles begin at multiples of 1024 bytes.
  char* const q = memory + (1024 - shared_address(memory) % 1024) % 1024;
  char* const k = q + Shape::kQBytes;
  char* const v = k + kStages * Shape::kKBytes;
  char* const out = Shape::kOutApart ? v + kStages * Shape::kVBytes : q;
  Control& control = *reinterpret_cast<Control*>(q + Shape::kBytes - Shape::kControlBytes);

  if (threadIdx.x == 0) {
    prefetch(a.q);
    prefetch(a.k);
    prefetch(a.v);
    prefetch(a.out);
    control.q_full.init(1);
    control.q_empty.init(kConsumerWarps);
    for (int i = 0; i < kStages; ++i) {
      control.k_full[i].init(1);
      control.k_empty[i].init(kConsumerWarps);
      control.v_full[i].init(1);
      control.v_empty[i].init(kConsumerWarps);
    }
    for (int i = 0; i < kWorkStages; ++i) {
      control.work_full[i].init(1);
      control.work_empty[i].init(kConsumerWarps);
    }
    fence_barrier_init();
  }
  __syncthreads();

  if (threadIdx.x < kWarpgroupThreads) {
    give_up_registers<kProducerRegisters>();
    if (threadIdx.x == 0) produce<Shape, kHeadDim, kValueDim, kKeys>(a, q, k, v, control);
  } else {
    take_registers<kConsumerRegisters>();
    consume<Element, Shape, kHeadDim, kValueDim, kKeys>(a, q, k, v, out, control);
  }
}

/// How many heads to work on at a time, so that their keys and values stay in the L2 cache.
int heads_per_group(const AttentionShape& shape) {
  constexpr int64_t kCacheBytes = int64_t{32} << 20;
  const int64_t bytes_per_kv_head =
      int64_t{2} * shape.batch * shape.keys * (shape.head_dim + shape.value_dim);
  int kv_heads = static_cast<int>(std::clamp(kCacheBytes / std::max<int64_t>(bytes_per_kv_head, 1),
                                             int64_t{1}, int64_t{shape.kv_heads}));
  while (shape.kv_heads % kv_heads != 0) --kv_heads;
  return kv_heads * (shape.heads / shape.kv_heads);
}

template <class Element, int kHeadDim, int kValueDim, int kKeys>
void launch(const AttentionForward& work, cudaStream_t stream) {
  const AttentionShape& s = work.shape;
  ForwardArguments a;
  a.q = tensor_map(work.q, work.type, s.batch, s.queries, s.heads, s.head_dim, kMaskTile);
  a.k = tensor_map(work.k, work.type, s.batch, s.keys, s.kv_heads, s.head_dim, kKeys);
  a.v = tensor_map(work.v, work.type, s.batch, s.keys, s.kv_heads, s.value_dim, kKeys);
  a.out =
      tensor_map(work.out, work.type, s.batch, s.queries, s.heads, s.value_dim, kWarpgroupQueries);
  a.lists = work.mask.by_query;
  a.distinct_row = work.mask.distinct_row;
  a.lse = work.lse;
  a.counter = work.counter;
  a.heads = s.heads;
  a.heads_per_group = heads_per_group(s);
  a.heads_per_kv_head = s.heads / s.kv_heads;
  a.items = a.lists.work_count * s.heads;
  a.queries = s.queries;
  a.scale = work.scale;

  constexpr int kBytes = Tiles<kHeadDim, kValueDim, kKeys>::kBytes + 1024;
  const auto kernel = forward_kernel<Element, kHeadDim, kValueDim, kKeys>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "cudaFuncSetAttribute");
  check(cudaMemsetAsync(work.counter, 0, sizeof(int), stream), "cudaMemsetAsync");
  kernel<<<std::min(device_attribute(cudaDevAttrMultiProcessorCount), a.items), kThreads, kBytes,
           stream>>>(a);
  check(cudaGetLastError(), "starting the forward kernel");
}

template <class Element>
void launch_by_dims(const AttentionForward& work, cudaStream_t stream) {
  const AttentionShape& s = work.shape;
  if (s.head_dim <= 64) return launch<Element, 64, 64, 128>(work, stream);
  if (s.head_dim <= 128) return launch<Element, 128, 128, 128>(work, stream);
  if (s.head_dim <= 192 && s.value_dim <= 128) return launch<Element, 192, 128, 128>(work, stream);
  return launch<Element, 256, 256, 64>(work, stream);
}

}  // namespace

bool hopper_takes(const AttentionForward& work) {
  const AttentionShape& s = work.shape;
  return work.type != ElementType::kFloat32 && work.scale > 0 && s.queries > 0 && s.keys > 0 &&
         s.head_dim % 8 == 0 && s.value_dim % 8 == 0 && s.head_dim <= 256 &&
         s.value_dim <= s.head_dim && suits_copies(work.q) && suits_copies(work.k) &&
         suits_copies(work.v) && suits_copies(work.out) &&
         device_attribute(cudaDevAttrComputeCapabilityMajor) == 9;
}

void hopper_forward(const AttentionForward& work, cudaStream_t stream) {
  if (work.mask.by_query.work_count == 0) return;
  if (work.type == ElementType::kFloat16)
    launch_by_dims<__half>(work, stream);
  else
    launch_by_dims<__nv_bfloat16>(work, stream);
}

}  // namespace coeus::cuda
