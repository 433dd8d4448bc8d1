#include "coeus/parallel/expert/load_balance_over_ranks.h"

#include <torch/types.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "coeus/ops/host_copy.h"
#include "coeus/parallel/expert/expert_parallel.h"

namespace coeus {

namespace {

using Metrics = std::vector<std::pair<std::string, double>>;

nlohmann::json to_json(const std::vector<nn::ExpertUsage>& layers) {
  nlohmann::json all = nlohmann::json::array();
  for (const nn::ExpertUsage& usage : layers) {
    nlohmann::json one = {{"layer", usage.layer}, {"tokens_per_expert", usage.tokens_per_expert}};
    if (usage.sequence_balance_loss) one["sequence_balance_loss"] = *usage.sequence_balance_loss;
    if (usage.z_loss) one["z_loss"] = *usage.z_loss;
    all.push_back(std::move(one));
  }
  return all;
}

std::optional<double> number_at(const nlohmann::json& object, const char* key) {
  return object.contains(key) ? std::optional(object.at(key).get<double>()) : std::nullopt;
}

/// Of the layers of all stages, from input to output; of one stage's where there are no others.
std::vector<nn::ExpertUsage> of_all_stages(const std::vector<nn::ExpertUsage>& own,
                                           ProcessGroup& pipeline) {
  if (pipeline.size() == 1) return own;
  std::vector<nn::ExpertUsage> all;
  for (const std::string& text : pipeline.all_gather_text(to_json(own).dump(), "use of experts"))
    for (const nlohmann::json& one : nlohmann::json::parse(text))
      all.push_back({.layer = one.at("layer"),
                     .tokens_per_expert = one.at("tokens_per_expert"),
                     .sequence_balance_loss = number_at(one, "sequence_balance_loss"),
                     .z_loss = number_at(one, "z_loss")});
  return all;
}

}  // namespace

nn::SumOverRanks sum_of_tokens(const ParallelGroups& groups) {
  std::vector<ParallelGroups::Group> over = {groups.loss};
  if (moe_sees_sequence_shares(groups.mesh)) over.push_back(groups.tensor);
  return [over = std::move(over)](at::Tensor& counts) {
    for (const ParallelGroups::Group& group : over)
      if (group->size() > 1) counts.copy_(group->all_reduce(counts, "tokens per expert"));
  };
}

std::vector<std::pair<std::string, double>> expert_usage_metrics(const nn::NamedMoELayers& layers,
                                                                 const ParallelGroups& groups) {
  return begin_expert_usage_metrics(layers, groups)();
}

std::function<Metrics()> begin_expert_usage_metrics(const nn::NamedMoELayers& layers,
                                                    const ParallelGroups& groups) {
  nn::ExpertUsageTensors usage = nn::expert_usage_tensors(layers);
  if (usage.tokens.numel() > 0) sum_of_tokens(groups)(usage.tokens);
  // Losses are parts of a mean over the ranks of tp too, whether these share rows or repeat them.
  if (usage.losses.numel() > 0)
    for (const ParallelGroups::Group& group : {groups.loss, groups.tensor})
      usage.losses = group->all_reduce(usage.losses, "auxiliary losses of experts");
  const auto tokens = std::make_shared<const HostCopy>(usage.tokens);
  const auto losses = std::make_shared<const HostCopy>(usage.losses);
  return [layers, tokens, losses, pipeline = groups.pipeline] {
    const auto own = nn::expert_usage(layers, {tokens->wait(), losses->wait()});
    return nn::expert_usage_metrics(of_all_stages(own, *pipeline));
  };
}

}  // namespace coeus
