// Context parallelism in a model's layers: attention of this rank's tokens over those of all ranks.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>

#include "coeus/comm/parallel_groups.h"
#include "coeus/mask/block_mask.h"
#include "coeus/ops/attention.h"
#include "coeus/parallel/context/token_exchange.h"

namespace coeus {

/// softmax(scale * q k^T, over the keys of all ranks that the mask shows) v for this rank's tokens.
/// q, k, v: as in coeus::attention, of this rank's tokens alone; mask: is_sharded(), all rows by
/// one method. Every rank of the group calls it, in forward and in backward, also one whose queries
/// see nothing. Throws Error for tokens other than the mask's plan gives this rank, and for
/// AttentionEngine::kCheck in a ring, whose parts there is nothing to hold to.
at::Tensor context_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const BlockMask& mask, const AttentionOptions& options,
                             const std::shared_ptr<ProcessGroup>& group);

/// Lets every InnerAttention in `model` attend over the ranks of ParallelGroups::context under
/// masks that are sharded, and every WholeRows gather from them. Does nothing for one rank.
void apply_context_parallel(const torch::nn::Module& model, const ParallelGroups& groups);

/// Throws Error, naming them, if ranks of the group planned otherwise than this one: all must call
/// it, with the hashes of their plans (Batch::plan_hash).
void check_same_plan(uint64_t hash, ProcessGroup& group);

}  // namespace coeus
