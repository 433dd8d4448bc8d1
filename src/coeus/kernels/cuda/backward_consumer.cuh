// The warpgroups that compute.
#pragma once

#include <cmath>
#include <type_traits>

#include "coeus/kernels/cuda/backward_tiles.cuh"
#include "coeus/kernels/cuda/exponential.cuh"
#include "coeus/kernels/cuda/hopper/copy.cuh"

namespace coeus::cuda::backward {

// Named barriers.
constexpr int kBothBarrier = 1;  ///< of both consumers
constexpr int kOwnBarrier = 2;   ///< and the next: of one consumer by itself

/// Where this thread's part of stmatrix begins in a swizzled tile whose rows from `shared` on are
/// the warpgroup's.
__device__ __forceinline__ uint32_t fragment_address(uint32_t shared, int thread) {
  const int lane = thread % 32;
  const int row = thread / 32 % 4 * 16 + lane % 16;
  return shared + row * kPanelRowBytes + ((lane / 16 ^ lane % 8) << 4);
}
/// Writes columns [16 k, 16 k + 16) of a fragment there.
__device__ __forceinline__ void store_fragment(uint32_t address, int k, const uint32_t* values) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                   (address ^ (k % 4 << 5)) + k / 4 * kKeyPanelBytes),
               "r"(values[0]), "r"(values[1]), "r"(values[2]), "r"(values[3])
               : "memory");
}

/// Which of a step's queries see this thread's two keys.
template <int kQueries>
struct MaskBits {
  uint32_t rows[2][kQueries / 32];

  /// `mask` is the step's, `row` the first key's in the tile.
  __device__ __forceinline__ void load(const uint32_t* bits, int mask, int row) {
    constexpr int kStepsPerTile = kMaskTile / kQueries;
    const uint32_t* const at = bits +
                               (int64_t{mask / kStepsPerTile} * kMaskTile + row) * kMaskWords +
                               mask % kStepsPerTile * (kQueries / 32);
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int w = 0; w < kQueries / 32; ++w) rows[r][w] = __ldg(at + r * 8 * kMaskWords + w);
  }
  /// Makes weights of what is hidden 0. `column` is this thread's.
  __device__ __forceinline__ void hide(float (&p)[kQueries / 2], int column) const {
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int w = 0; w < kQueries / 32; ++w) {
        // Tests of bits at places known to the compiler become predicates without shifts.
        const uint32_t word = rows[r][w] >> column;
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int c = 0; c < 2; ++c)
            if (!(word & (1U << (8 * j + c)))) p[16 * w + 4 * j + 2 * r + c] = 0;
      }
  }
};

/// s = rows of a, as many as a warpgroup takes, times those of b; both are kDim columns wide.
template <class Element, int kRows, int kDim>
__device__ __forceinline__ void multiply_rows(float (&s)[kRows / 2], hopper::Operand a,
                                              hopper::Operand b) {
  using namespace hopper;
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d)
    wgmma<Element, kRows, Along::kRows, Along::kRows>(
        s, a.at(d / 4 * kKeyPanelBytes + d % 4 * 32),
        b.at(d / 4 * kRows * kPanelRowBytes + d % 4 * 32), d != 0);
}

/// sum += a b, where a, [64, kRows], is held in registers and b has kRows rows of kDim columns.
template <class Element, int kRows, int kDim>
__device__ __forceinline__ void add_product(float (&sum)[kDim / 2], const uint32_t (&a)[kRows / 4],
                                            hopper::Operand b) {
  using namespace hopper;
#pragma unroll
  for (int k = 0; k < kRows / 16; ++k)
    wgmma<Element, kDim, Along::kColumns>(sum, a + 4 * k, b.at(k * 16 * kPanelRowBytes), true);
}

/// The same with a in shared memory, where panels lie kKeyPanelBytes apart.
template <class Element, int kRows, int kDim>
__device__ __forceinline__ void add_product(float (&sum)[kDim / 2], hopper::Operand a,
                                            hopper::Operand b) {
  using namespace hopper;
#pragma unroll
  for (int k = 0; k < kRows / 16; ++k)
    wgmma<Element, kDim, Along::kRows, Along::kColumns>(
        sum, a.at(k / 4 * kKeyPanelBytes + k % 4 * 32), b.at(k * 16 * kPanelRowBytes), true);
}

/// product = the transpose of a, [keys, 64], times kColumns columns of b, [keys, ...].
template <class Element, int kColumns>
__device__ __forceinline__ void multiply_over_keys(float (&product)[kColumns / 2],
                                                   hopper::Operand a, hopper::Operand b) {
  using namespace hopper;
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k)
    wgmma<Element, kColumns, Along::kColumns, Along::kColumns>(
        product, a.at(k * 16 * kPanelRowBytes), b.at(k * 16 * kPanelRowBytes), k != 0);
}

/// Adds a warp's part of a product to the sums at `to`, by way of its part of shared memory or
/// straight from registers.
template <bool kFromRegisters, int kSize>
__device__ __forceinline__ void add_to_sums(float* to, float* staging,
                                            const float (&product)[kSize], int lane) {
  if constexpr (kFromRegisters) {
#pragma unroll
    for (int j = 0; j < kSize / 4; ++j)
      asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(
                       to + (j * 32 + lane) * 4),
                   "f"(product[4 * j]), "f"(product[4 * j + 1]), "f"(product[4 * j + 2]),
                   "f"(product[4 * j + 3])
                   : "memory");
    return;
  }
  if (lane == 0) hopper::wait_stores_read<0>();
  __syncwarp();
#pragma unroll
  for (int j = 0; j < kSize / 4; ++j)
    reinterpret_cast<float4*>(staging)[j * 32 + lane] =
        make_float4(product[4 * j], product[4 * j + 1], product[4 * j + 2], product[4 * j + 3]);
  hopper::fence_shared_writes();
  __syncwarp();
  if (lane == 0) {
    hopper::add_floats(to, staging, kSize * 32 * sizeof(float));
    hopper::commit_stores();
  }
  __syncwarp();
}

/// Has a warp add to the sums of query gradients when its turn comes, so that each is summed in one
/// order: that of the work. Items are taken in that order, and what an item waits for is done by
/// earlier ones, so that the earliest that is not done never waits.
template <bool kInOrder, bool kFromRegisters>
class Turns {
 public:
  /// `turns`: whose turn it is, of this warp's part of a block.
  __device__ __forceinline__ void await(int* turns, int turn, int lane) {
    if constexpr (kInOrder) {
      pass_on(lane);
      if (lane == 0) {
        int now;
        do {
          asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(now) : "l"(turns) : "memory");
        } while (now != turn);
      }
      __syncwarp();
      taken_ = turns;
      next_ = turn + 1;
    }
  }
  /// Passes the turn that was taken on to the next, once all is added. It is done only when the
  /// following turn is awaited, or at an item's end, for the adding takes its time.
  __device__ __forceinline__ void pass_on(int lane) {
    if constexpr (kInOrder) {
      if (taken_ == nullptr) return;
      if constexpr (kFromRegisters) {
        __threadfence();
        __syncwarp();
      }
      if (lane == 0) {
        if constexpr (!kFromRegisters) {
          hopper::wait_stores();
          __threadfence();
        }
        asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(taken_), "r"(next_) : "memory");
      }
      taken_ = nullptr;
    }
  }

 private:
  int* taken_ = nullptr;
  int next_ = 0;
};

/// Writes sums * factor as elements to this warpgroup's rows of a tile.
template <class Element, int kSize>
__device__ __forceinline__ void store_rows(uint32_t address, const float (&sums)[kSize],
                                           float factor) {
#pragma unroll
  for (int k = 0; k < kSize / 8; ++k) {
    uint32_t values[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      values[i] =
          hopper::packed<Element>(sums[8 * k + 2 * i] * factor, sums[8 * k + 2 * i + 1] * factor);
    store_fragment(address, k, values);
  }
}

/// Computes what the producer passes on. With s = q k^T * scale, of one step:
///   p = exp(s - lse)                  [keys, queries], as all below
///   dp = v grad_out^T
///   ds = p (dp - delta)
///   grad_v += p grad_out,  grad_k += ds q * scale,  grad_q += ds^T k * scale
/// A warpgroup has its 64 keys' rows of the first three and keeps the sums of grad_k and grad_v;
/// for grad_q, ds of both goes through shared memory. Its products run in the order in which they
/// are started, and while one runs the last one's result is worked on: while p is computed, grad_k
/// of the step before (and dp); while ds is, grad_v; while ds is written and awaited, the next
/// step's s; and while grad_q is added to its sums, grad_k.
template <class Element, class Tiles, bool kInOrder>
__device__ __forceinline__ void consume(const Arguments& a, Shared<Tiles>& shared) {
  using namespace hopper;
  constexpr int kQueries = Tiles::kQueries;
  constexpr int kHeadDim = Tiles::kHeadDim;
  constexpr int kValueDim = Tiles::kValueDim;
  constexpr int kBoth = kConsumers * kWarpgroupThreads;

  // The shuffle tells the compiler that all threads of a warp agree.
  const int warp = __shfl_sync(0xFFFFFFFF, static_cast<int>(threadIdx.x) / 32, 0) - 4;
  const int warpgroup = warp / 4;
  const int lane = threadIdx.x % 32;
  const int row = warpgroup * kWarpgroupKeys + row_of(threadIdx.x);
  const int column = column_of(threadIdx.x);
  const float scale_log2 = a.scale * kLog2E;

  const uint32_t own_rows = warpgroup * kWarpgroupKeys * kPanelRowBytes;
  const Operand k_rows = row_operand(shared_address(shared.k) + own_rows);
  const Operand v_rows = row_operand(shared_address(shared.v) + own_rows);
  // The part of grad_q that this warpgroup computes.
  const Operand first_k_columns = column_operand(
      shared_address(shared.k) + (Tiles::kSplitQueries ? 0 : warpgroup * kKeyPanelBytes),
      kKeyPanelBytes);
  const Operand second_k_columns =
      column_operand(shared_address(shared.k) + 2 * kKeyPanelBytes +
                         warpgroup * Tiles::kSecondColumns * static_cast<int>(sizeof(Element)),
                     kKeyPanelBytes);
  const uint32_t ds_columns = Tiles::kSplitQueries ? warpgroup * kKeyPanelBytes : 0;
  const uint32_t ds_fragment =
      fragment_address(shared_address(shared.score_gradients) + own_rows, threadIdx.x);

  RingPlace<Tiles::kQueryStages> q_at;  // of the next step
  RingPlace<kGradOutStages> grad_out_at;
  int q_done = 0;  // stage of the first step that may still be in use
  int buffer = 0;  // of score_gradients
  uint32_t kv_parity = 0;

  float grad_k[kHeadDim / 2];
  float grad_v[kValueDim / 2];
  float s[kQueries / 2];
  MaskBits<kQueries> bits;

  const auto release = [&](Barrier& barrier) {
    if (lane == 0) barrier.arrive();
  };
  const auto release_q = [&] {
    release(shared.q_empty[q_done]);
    if (++q_done == Tiles::kQueryStages) q_done = 0;
  };
  struct Visit {
    int stage;
    int block;
    int mask;
    int turn;
  };
  Turns<kInOrder, Tiles::kAddsFromRegisters> turns;
  const auto next_visit = [&] {
    shared.q_full[q_at.stage].wait(q_at.parity);
    const Step& step = shared.steps[q_at.stage];
    const Visit visit = {q_at.stage, step.block, step.mask, kInOrder ? step.turn : 0};
    q_at.advance();
    return visit;
  };
  // Without a condition, for the compiler serializes all products where s might or might not be in
  // the making: what an item's end brings is thrown away.
  const auto start_scores = [&](const Visit& visit) {
    if (visit.mask >= 0) bits.load(a.lists.bits, visit.mask, row);
    wgmma_fence();
    multiply_rows<Element, kQueries, kHeadDim>(s, k_rows,
                                               row_operand(shared_address(shared.q[visit.stage])));
    wgmma_commit();
  };

  for (;;) {
    Visit visit = next_visit();
    if (visit.block == kEndOfWork) break;
#pragma unroll
    for (float& x : grad_k) x = 0;
#pragma unroll
    for (float& x : grad_v) x = 0;

    if (visit.block >= 0) {
      shared.kv_full.wait(kv_parity);
      kv_parity ^= 1;
      start_scores(visit);
      wgmma_wait<0>();
      pin(s);
      bool is_first = true;
      // Here scores are complete, and the last step's product for grad_k may still run.
      do {
        const int grad_out_stage = grad_out_at.stage;
        const Operand grad_out_columns = column_operand(
            shared_address(shared.grad_out[grad_out_stage]), Tiles::kQueryPanelBytes);
        const Operand q_columns =
            column_operand(shared_address(shared.q[visit.stage]), Tiles::kQueryPanelBytes);
        float* const sums =
            a.query_sums + int64_t{visit.block} * Tiles::kBlockFloats + warp * Tiles::kWarpFloats;
        const auto await_turn = [&, turn = visit.turn, block = visit.block] {
          turns.await(a.turns + block * kConsumerWarps + warp, turn, lane);
        };
        const uint32_t ds = shared_address(shared.score_gradients[buffer]);
        const Operand ds_rows = row_operand(ds + own_rows);
        [[maybe_unused]] float apart[kQueries / 2];
        float(&dp)[kQueries / 2] = Tiles::kHoldsBoth ? apart : s;
        uint32_t p[kQueries / 4];

        const auto start_dp = [&] {
          wgmma_fence();
          multiply_rows<Element, kQueries, kValueDim>(
              dp, v_rows, row_operand(shared_address(shared.grad_out[grad_out_stage])));
          wgmma_commit();
        };
        const auto weigh = [&] {
          const float* const lse = shared.lse[grad_out_stage] + column;
#pragma unroll
          for (int j = 0; j < kQueries / 8; ++j) {
            const float2 shift = *reinterpret_cast<const float2*>(lse + 8 * j);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
              s[4 * j + 2 * r] = exp2_fast(fmaf(s[4 * j + 2 * r], scale_log2, -shift.x));
              s[4 * j + 2 * r + 1] = exp2_fast(fmaf(s[4 * j + 2 * r + 1], scale_log2, -shift.y));
            }
          }
          if (visit.mask >= 0) bits.hide(s, column);
#pragma unroll
          for (int i = 0; i < kQueries / 4; ++i) p[i] = packed<Element>(s[2 * i], s[2 * i + 1]);
        };
        const auto start_grad_v = [&] {
          wgmma_fence();
          add_product<Element, kQueries, kValueDim>(grad_v, p, grad_out_columns);
          wgmma_commit();
        };
        const auto finish_last_grad_k = [&] {
          pin(grad_k);
          if (!is_first) release_q();
          is_first = false;
        };
        const auto write_ds = [&] {
          const float* const delta = shared.delta[grad_out_stage] + column;
#pragma unroll
          for (int k = 0; k < kQueries / 16; ++k) {
            uint32_t values[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const int at = 8 * k + 2 * i;
              const float2 mean = *reinterpret_cast<const float2*>(delta + at / 4 * 8);
              float2 weights = {s[at], s[at + 1]};
              if constexpr (!Tiles::kKeepsWeights) weights = unpacked<Element>(p[at / 2]);
              values[i] =
                  packed<Element>(weights.x * (dp[at] - mean.x), weights.y * (dp[at + 1] - mean.y));
            }
            store_fragment(ds_fragment + buffer * Tiles::kScoreBytes, k, values);
          }
          fence_shared_writes();
        };
        const auto finish_grad_v = [&] {
          pin(grad_v);
          pin(p);
          release(shared.grad_out_empty[grad_out_at.stage]);
          grad_out_at.advance();
        };
        const auto wait_for_both_ds = [&] {
          // Also tells that both have read the other buffer, which is written next.
          named_wait(kBothBarrier, kBoth);
          buffer ^= 1;
        };

        shared.grad_out_full[grad_out_stage].wait(grad_out_at.parity);
        if constexpr (Tiles::kHoldsBoth) {
          start_dp();
          weigh();
        } else {
          weigh();
          start_dp();
        }
        start_grad_v();
        wgmma_wait<1>();
        pin(dp);
        finish_last_grad_k();
        write_ds();

        if constexpr (Tiles::kHoldsBoth) {
          if constexpr (!Tiles::kKeepsWeights) {
            wgmma_wait<0>();
            finish_grad_v();
          }
          const Visit next = next_visit();
          start_scores(next);
          wait_for_both_ds();
          if constexpr (Tiles::kKeepsWeights) {
            wgmma_wait<1>();
            finish_grad_v();
          }
          float first_columns[Tiles::kFirstColumns / 2];
          wgmma_fence();
          multiply_over_keys<Element, Tiles::kFirstColumns>(
              first_columns, column_operand(ds + ds_columns, kKeyPanelBytes), first_k_columns);
          wgmma_commit();
          add_product<Element, kQueries, kHeadDim>(grad_k, ds_rows, q_columns);
          wgmma_commit();
          wgmma_wait<1>();
          pin(first_columns);
          pin(s);
          visit = next;
          await_turn();
          add_to_sums<Tiles::kAddsFromRegisters>(sums, shared.query_gradients[warp], first_columns,
                                                 lane);
        } else {
          wait_for_both_ds();
          float(&first_columns)[Tiles::kFirstColumns / 2] = s;
          wgmma_fence();
          multiply_over_keys<Element, Tiles::kFirstColumns>(
              first_columns, column_operand(ds, kKeyPanelBytes), first_k_columns);
          wgmma_commit();
          // In halves, so that each runs while something else is done.
          add_product<Element, kQueries / 2, kHeadDim>(grad_k, ds_rows, q_columns);
          wgmma_commit();
          wgmma_wait<1>();
          finish_grad_v();
          pin(first_columns);
          await_turn();
          add_to_sums<Tiles::kAddsFromRegisters>(sums, shared.query_gradients[warp], first_columns,
                                                 lane);
          float second_columns[Tiles::kSecondColumns / 2];
          wgmma_fence();
          multiply_over_keys<Element, Tiles::kSecondColumns>(
              second_columns, column_operand(ds, kKeyPanelBytes), second_k_columns);
          wgmma_commit();
          const Visit next = next_visit();
          start_scores(next);
          add_product<Element, kQueries / 2, kHeadDim>(grad_k,
                                                       ds_rows.at(kQueries / 2 * sizeof(Element)),
                                                       q_columns.at(kQueries / 2 * kPanelRowBytes));
          wgmma_commit();
          wgmma_wait<1>();
          pin(second_columns);
          pin(s);
          visit = next;
          add_to_sums<Tiles::kAddsFromRegisters>(
              sums + 16 * Tiles::kFirstColumns, shared.query_gradients[warp], second_columns, lane);
        }
      } while (visit.block >= 0);
      wgmma_wait<0>();
      pin(grad_k);
      release_q();
      turns.pass_on(lane);
    }

    // Now `visit` is the end of the item.
    const Step end = shared.steps[visit.stage];
    __syncwarp();
    release_q();
    named_wait(kBothBarrier, kBoth);  // both have read the keys
    store_rows<Element>(fragment_address(shared_address(shared.k) + own_rows, threadIdx.x), grad_k,
                        a.scale);
    store_rows<Element>(fragment_address(shared_address(shared.v) + own_rows, threadIdx.x), grad_v,
                        1);
    fence_shared_writes();
    named_wait(kOwnBarrier + warpgroup, kWarpgroupThreads);
    if (threadIdx.x % kWarpgroupThreads == 0) {
      const int key = end.tile * kKeys + warpgroup * kWarpgroupKeys;
#pragma unroll
      for (int panel = 0; panel < kHeadDim / kPanelColumns; ++panel)
        store_tile(a.grad_k, shared.k + panel * kKeyPanelBytes + own_rows, panel * kPanelColumns,
                   end.kv_head, key, end.row);
#pragma unroll
      for (int panel = 0; panel < kValueDim / kPanelColumns; ++panel)
        store_tile(a.grad_v, shared.v + panel * kKeyPanelBytes + own_rows, panel * kPanelColumns,
                   end.kv_head, key, end.row);
      commit_stores();
      wait_stores_read<0>();
      shared.kv_empty.arrive();
    }
    __syncwarp();
  }
  // Shared memory must outlast the copies out of it.
  if (lane == 0) wait_stores_read<0>();
}

}  // namespace coeus::cuda::backward
