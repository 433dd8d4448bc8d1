// How experts are used, over all ranks.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "coeus/comm/parallel_groups.h"
#include "coeus/nn/moe/load_balance.h"

namespace coeus {

/// Sums what was counted of tokens over the ranks of the pipeline stage that see other tokens, so
/// that every token counts once: dp_replicate, dp_shard and cp, and tp where each of its ranks
/// sends a share of the sequence to experts. All of these ranks get the same sums. For
/// Model::before_optimizer_step.
nn::SumOverRanks sum_of_tokens(const ParallelGroups& groups);

/// nn::expert_usage_metrics of the experts of the whole model and the tokens of all ranks:
/// each stage's sums, gathered over the stages. `layers`: those of all of this rank's parts of the
/// model. All ranks of the job call it, and all get the same.
std::vector<std::pair<std::string, double>> expert_usage_metrics(const nn::NamedMoELayers& layers,
                                                                 const ParallelGroups& groups);

/// The same in two: sums over ranks at once, on the device, and returns what gives the metrics when
/// it is called, by all ranks and once. The device is waited for in that alone, and by then layers
/// may be counting anew.
std::function<std::vector<std::pair<std::string, double>>()> begin_expert_usage_metrics(
    const nn::NamedMoELayers& layers, const ParallelGroups& groups);

}  // namespace coeus
