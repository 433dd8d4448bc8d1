// What attention over spread rows costs by each method, and which is cheapest.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "coeus/mask/context_shard.h"
#include "coeus/parallel/context/plan/context_plan.h"
#include "coeus/parallel/context/plan/context_row.h"

namespace coeus {

/// Reads "allgather", "ring", "alltoall" or "needed". Throws ConfigError for another name.
ContextMethod context_method_from_name(std::string_view name);
/// The name that context_method_from_name reads back.
std::string_view name_of(ContextMethod method);

/// One attention layer's sizes on a rank (after tensor parallelism), and how fast ranks are.
struct ContextCostModel {
  int64_t heads = 32;
  int64_t kv_heads = 8;
  int64_t key_dim = 128;
  int64_t value_dim = 128;
  int64_t element_size = 4;            ///< bytes of a number of q, k and v
  double flops_per_second = 90e9;      ///< of a rank, in attention, over visible pairs
  double bytes_per_second = 1.5e9;     ///< that a rank gets from others while it gives as many
  double seconds_per_exchange = 1e-4;  ///< before the first byte arrives

  /// Bytes of a token's keys and values.
  int64_t key_value_bytes() const { return kv_heads * (key_dim + value_dim) * element_size; }
};

/// Query heads that each rank attends with under kAllToAll: as even as can be.
std::vector<int64_t> heads_by_rank(int64_t heads, int64_t ranks);

/// One layer's attention under one mask, over some rows at once.
struct MethodCost {
  ContextMethod method = ContextMethod::kAllGather;
  /// The busiest rank's pairs of query and key over the mean.
  double imbalance = 1;
  /// Bytes that each rank gets from others in the forward pass; backward moves as many (the ring
  /// twice as many and their gradients).
  std::vector<int64_t> received_bytes;
  double seconds = 0;  ///< forward and backward

  int64_t most_received_bytes() const;
};

/// `rows` and `plans`: of a micro-batch, all for equally many ranks; `mask`: which of the rows'
/// masks, counted as they stand there.
MethodCost cost_of(ContextMethod method, const std::vector<ContextRow>& rows,
                   const std::vector<ContextPlan>& plans, size_t mask,
                   const ContextCostModel& model);

/// The method of least seconds; the same on every rank, for all know the same plans.
MethodCost cheapest_method(const std::vector<ContextRow>& rows,
                           const std::vector<ContextPlan>& plans, size_t mask,
                           const ContextCostModel& model);

/// Pairs of query and key of each rank's queries (down) over each rank's keys (across), [ranks,
/// ranks], row-major.
std::vector<int64_t> pairs_by_ranks(const BlockMaskRow& mask, const ContextPlan& plan);

}  // namespace coeus
