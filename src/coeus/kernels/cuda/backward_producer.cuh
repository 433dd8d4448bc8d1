// The warp that takes work and copies tiles to shared memory.
#pragma once

#include "coeus/kernels/cuda/backward_tiles.cuh"
#include "coeus/kernels/cuda/hopper/copy.cuh"

namespace coeus::cuda::backward {

/// Takes items (a tile of keys of one key head) off the counter, and for each query head that
/// shares the keys and each tile of queries that sees them passes steps to the consumers. One lane
/// does it; the others follow, so that the compiler knows the warp as one and needs few registers.
template <class Tiles, bool kInOrder>
__device__ __forceinline__ void produce(const Arguments& a, Shared<Tiles>& shared) {
  using namespace hopper;
  const bool leads = threadIdx.x == 0;
  RingPlace<Tiles::kQueryStages> q_at;
  RingPlace<kGradOutStages> grad_out_at;
  uint32_t kv_parity = 0;
  const int heads_per_kv_head = a.heads / a.kv_heads;

  const auto load_panels = [&](char* to, int panels, int panel_bytes, const CUtensorMap& map,
                               Barrier& barrier, int head, int token, int row) {
#pragma unroll
    for (int p = 0; p < panels; ++p)
      load_tile(to + p * panel_bytes, map, barrier, p * kPanelColumns, head, token, row);
  };
  const auto wait_for_kv_empty = [&] {
    shared.kv_empty.wait(kv_parity ^ 1);
    kv_parity ^= 1;
  };
  const auto tell = [&](const Step& step) {
    shared.q_empty[q_at.stage].wait(q_at.parity ^ 1);
    if (leads) {
      shared.steps[q_at.stage] = step;
      shared.q_full[q_at.stage].arrive();
    }
    __syncwarp();
    q_at.advance();
  };

  // Where the order counts, a block that does not run, since others have the GPU, must hold nothing
  // that running ones wait for: so the first items come off the counter too.
  int item = blockIdx.x;
  if constexpr (kInOrder) {
    if (leads) item = atomicAdd(a.counter, 1);
    item = __shfl_sync(0xFFFFFFFF, item, 0);
  }
  while (item < a.items) {
    int next = 0;
    if (leads) next = (kInOrder ? 0 : gridDim.x) + atomicAdd(a.counter, 1);
    const int group_items = a.lists.work_count * a.kv_heads_per_group;
    const int place = item % group_items;
    const int2 work = a.lists.work[place / a.kv_heads_per_group];
    const int kv_head = item / group_items * a.kv_heads_per_group + place % a.kv_heads_per_group;
    const int list = a.distinct_row[work.x] * a.lists.tiles + work.y;
    bool has_keys = false;

    const auto visit = [&](int head, int query, int mask, int turn) {
      if (!has_keys) {
        has_keys = true;
        wait_for_kv_empty();
        if (leads) {
          shared.kv_full.arrive_expecting(Tiles::kKBytes + Tiles::kVBytes);
          load_panels(shared.k, Tiles::kHeadDim / kPanelColumns, kKeyPanelBytes, a.k,
                      shared.kv_full, kv_head, work.y * kKeys, work.x);
          load_panels(shared.v, Tiles::kValueDim / kPanelColumns, kKeyPanelBytes, a.v,
                      shared.kv_full, kv_head, work.y * kKeys, work.x);
        }
        __syncwarp();
      }
      const int line = work.x * a.heads + head;

      shared.q_empty[q_at.stage].wait(q_at.parity ^ 1);
      if (leads) {
        Barrier& full = shared.q_full[q_at.stage];
        Step& step = shared.steps[q_at.stage];
        step.block = line * (a.padded_queries / Tiles::kQueries) + query / Tiles::kQueries;
        step.mask = mask;
        if constexpr (kInOrder) step.turn = turn;
        full.arrive_expecting(Tiles::kQBytes);
        load_panels(shared.q[q_at.stage], Tiles::kHeadDim / kPanelColumns, Tiles::kQueryPanelBytes,
                    a.q, full, head, query, work.x);
      }
      __syncwarp();
      q_at.advance();

      shared.grad_out_empty[grad_out_at.stage].wait(grad_out_at.parity ^ 1);
      if (leads) {
        Barrier& full = shared.grad_out_full[grad_out_at.stage];
        constexpr int kRowBytes = Tiles::kQueries * sizeof(float);
        full.arrive_expecting(Tiles::kGradOutBytes + 2 * kRowBytes);
        load_panels(shared.grad_out[grad_out_at.stage], Tiles::kValueDim / kPanelColumns,
                    Tiles::kQueryPanelBytes, a.grad_out, full, head, query, work.x);
        const int64_t rows = int64_t{line} * a.padded_queries + query;
        load_bytes(shared.lse[grad_out_at.stage], a.lse + rows, kRowBytes, full);
        load_bytes(shared.delta[grad_out_at.stage], a.delta + rows, kRowBytes, full);
      }
      __syncwarp();
      grad_out_at.advance();
    };

    for (int h = 0; h < heads_per_kv_head; ++h) {
      const int head = kv_head * heads_per_kv_head + h;
      int partial = a.lists.partial_offsets[list];
      const int partial_end = a.lists.partial_offsets[list + 1];
      int range = a.lists.full_offsets[list];
      const int range_end = a.lists.full_offsets[list + 1];
      int2 full = {0, 0};
      int full_turn = 0;  // where the turn of the tile full.x stands
      for (;;) {
        int2 visited = {0, -1};  // a tile and its entry
        int turn = 0;
        if (partial < partial_end) {
          if constexpr (kInOrder) turn = a.lists.partial_turns[partial];
          visited = a.lists.partial[partial++];
        } else if (full.x < full.y) {
          if constexpr (kInOrder) turn = a.lists.full_turns[full_turn++];
          visited.x = full.x++;
        } else if (range < range_end) {
          if constexpr (kInOrder) full_turn = a.lists.full_turn_offsets[range];
          full = a.lists.full[range++];
          continue;
        } else {
          break;
        }
#pragma unroll 1
        for (int part = 0; part < Tiles::kStepsPerTile; ++part) {
          const int query = visited.x * kMaskTile + part * Tiles::kQueries;
          if (query < a.queries)
            visit(head, query, visited.y < 0 ? -1 : visited.y * Tiles::kStepsPerTile + part, turn);
        }
      }
    }
    if (!has_keys) wait_for_kv_empty();
    tell({kEndOfItem, -1, 0, work.x, work.y, kv_head});
    item = __shfl_sync(0xFFFFFFFF, next, 0);
  }
  tell({kEndOfWork, -1, 0, 0, 0, 0});
}

}  // namespace coeus::cuda::backward
