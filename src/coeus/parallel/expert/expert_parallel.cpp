#include "coeus/parallel/expert/expert_parallel.h"

#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/parallel/expert/token_exchange.h"

namespace coeus {

namespace {

/// Over the ranks that have the other tokens of this rank's rows.
nn::SumOverRanks sum_over_row_shares(const ParallelGroups& groups) {
  std::vector<ParallelGroups::Group> spread;
  if (groups.context->size() > 1) spread.push_back(groups.context);
  if (moe_sees_sequence_shares(groups.mesh)) spread.push_back(groups.tensor);
  if (spread.empty()) return {};
  return [spread = std::move(spread)](at::Tensor& x) {
    for (const ParallelGroups::Group& group : spread)
      x.copy_(group->all_reduce(x, "shares of rows in auxiliary losses"));
  };
}

}  // namespace

bool moe_sees_sequence_shares(const Mesh& mesh) {
  return mesh.degrees().tp > 1 && !mesh.splits_experts();
}

void apply_expert_parallel(const torch::nn::Module& model, ShardedParameters& parameters,
                           const ParallelGroups& groups) {
  const ParallelGroups::Group& group = groups.expert;
  const int64_t copies = moe_sees_sequence_shares(groups.mesh) ? 1 : groups.mesh.degrees().tp;
  for (const auto& [name, layer] : nn::moe_layers_of(model)) {
    layer->set_row_shares(sum_over_row_shares(groups), copies);
    if (group->size() == 1) continue;
    const int64_t experts = layer->options().num_experts;
    COEUS_CHECK_CONFIG(group->size() <= experts,
                       "parallelism.expert_parallel_degree = {}: {} has only {} experts to spread; "
                       "take at most {}",
                       group->size(), name, experts, experts);
    const ChunkRange own = chunk_of(experts, group->size(), group->rank());
    for (const char* weight : {"w1", "w2", "w3"})
      parameters.narrow(name + ".experts." + weight, 0, own.begin, own.size);
    layer->experts->set_dispatch(exchange_tokens(group, experts, name + ".experts"));
  }
}

}  // namespace coeus
