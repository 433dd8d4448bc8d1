#include "coeus/parallel/expert/load_balance_over_ranks.h"

#include <torch/types.h>

#include <nlohmann/json.hpp>

#include "coeus/parallel/expert/expert_parallel.h"

namespace coeus {

namespace {

/// Losses are parts of a mean over the ranks of tp too, whether these share rows or repeat them.
void sum_losses(std::vector<nn::ExpertUsage>& layers, const ParallelGroups& groups) {
  std::vector<std::optional<double>*> losses;
  for (nn::ExpertUsage& usage : layers)
    for (std::optional<double>* loss : {&usage.sequence_balance_loss, &usage.z_loss})
      if (*loss) losses.push_back(loss);
  if (losses.empty()) return;
  at::Tensor sums = at::empty({static_cast<int64_t>(losses.size())}, at::kDouble);
  auto* sum = sums.mutable_data_ptr<double>();
  for (size_t i = 0; i < losses.size(); ++i) sum[i] = **losses[i];
  for (const ParallelGroups::Group& group : {groups.loss, groups.tensor})
    sums = group->all_reduce(sums, "auxiliary losses of experts");
  for (size_t i = 0; i < losses.size(); ++i) *losses[i] = sums.const_data_ptr<double>()[i];
}

void sum_tokens(std::vector<nn::ExpertUsage>& layers, const ParallelGroups& groups) {
  std::vector<int64_t> all;
  for (const nn::ExpertUsage& usage : layers)
    all.insert(all.end(), usage.tokens_per_expert.begin(), usage.tokens_per_expert.end());
  if (all.empty()) return;
  at::Tensor sums = at::tensor(all, at::kLong);
  sum_of_tokens(groups)(sums);
  const auto* sum = sums.const_data_ptr<int64_t>();
  for (nn::ExpertUsage& usage : layers)
    for (int64_t& tokens : usage.tokens_per_expert) tokens = *sum++;
}

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
  std::vector<nn::ExpertUsage> usage = nn::expert_usage(layers);
  sum_tokens(usage, groups);
  sum_losses(usage, groups);
  return nn::expert_usage_metrics(of_all_stages(usage, *groups.pipeline));
}

}  // namespace coeus
