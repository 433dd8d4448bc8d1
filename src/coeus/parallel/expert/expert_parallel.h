// Expert parallelism: the experts of a layer spread over ranks.
#pragma once

#include <torch/nn/module.h>

#include "coeus/comm/parallel_groups.h"
#include "coeus/nn/moe/load_balance.h"
#include "coeus/parallel/sharded_parameters.h"

namespace coeus {

/// Lets this rank hold only its own of the experts of every mixture-of-experts layer of `model` (or
/// of a stage of it), the chunk of `groups.expert` that is its own along dimension 0 of experts.w1,
/// w2 and w3, and sends tokens there and back (see exchange_tokens). Tells the layers too how a
/// batch lies over ranks, for their auxiliary losses, so it is called for every layout. Router and
/// shared experts stay as they are; splitting experts along their hidden dimension is the tensor
/// parallelism's. Throws ConfigError for more ranks than experts.
///
/// The gradient of an expert is whole, but for the ranks of groups.expert_shard and
/// groups.replicate, which see other tokens with the same experts.
void apply_expert_parallel(const torch::nn::Module& model, ShardedParameters& parameters,
                           const ParallelGroups& groups);

/// Whether a mixture-of-experts layer sees a share of the sequence on each rank of tp, and not the
/// whole on every one: where ep takes the ranks of tp for experts that are not split.
bool moe_sees_sequence_shares(const Mesh& mesh);

}  // namespace coeus
