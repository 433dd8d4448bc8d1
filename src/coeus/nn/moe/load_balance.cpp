#include "coeus/nn/moe/load_balance.h"

#include <torch/types.h>

#include <algorithm>
#include <numeric>

#include "coeus/base/error.h"

namespace coeus::nn {

namespace {

/// [layers, num_experts] of the given layers' counts.
at::Tensor counts_of(const std::vector<MoEImpl*>& layers) {
  std::vector<at::Tensor> counts;
  for (MoEImpl* layer : layers) counts.push_back(layer->usage().tokens_per_expert);
  return at::stack(counts);
}

bool has_sequence_balance_loss(const MoEImpl& layer) {
  return layer.options().sequence_balance_loss_coeff != 0;
}

bool has_z_loss(const MoEImpl& layer) { return layer.options().z_loss_coeff != 0; }

}  // namespace

NamedMoELayers moe_layers_of(const torch::nn::Module& model) {
  NamedMoELayers layers;
  for (const auto& item : model.named_modules("", /*include_self=*/false))
    if (auto layer = std::dynamic_pointer_cast<MoEImpl>(item.value()))
      layers.emplace_back(item.key(), std::move(layer));
  return layers;
}

void update_expert_bias(const NamedMoELayers& layers, const SumOverRanks& sum_over_ranks,
                        const at::Tensor& moves) {
  std::vector<MoEImpl*> balanced;
  for (const auto& [name, layer] : layers)
    if (layer->expert_bias.defined()) balanced.push_back(layer.get());
  if (balanced.empty()) return;
  at::NoGradGuard no_grad;
  at::Tensor counts = counts_of(balanced);
  if (sum_over_ranks) sum_over_ranks(counts);
  // In whole numbers: mean - tokens has the sign of total - experts * tokens.
  at::Tensor direction =
      at::sign(counts.sum(1, /*keepdim=*/true) - counts * counts.size(1)).to(at::kFloat);
  if (moves.defined()) direction.mul_(moves);
  for (size_t i = 0; i < balanced.size(); ++i) {
    const at::Tensor move =
        direction[static_cast<int64_t>(i)] * *balanced[i]->options().load_balance_coeff;
    balanced[i]->expert_bias.add_(move - move.mean());
  }
}

std::vector<ExpertUsage> expert_usage(const NamedMoELayers& layers) {
  const ExpertUsageTensors usage = expert_usage_tensors(layers);
  return expert_usage(layers, {usage.tokens.to(at::kCPU), usage.losses.to(at::kCPU)});
}

ExpertUsageTensors expert_usage_tensors(const NamedMoELayers& layers) {
  std::vector<at::Tensor> tokens, losses;
  for (const auto& [name, layer] : layers) {
    tokens.push_back(layer->usage().tokens_per_expert);
    if (has_sequence_balance_loss(*layer)) losses.push_back(layer->usage().sequence_balance_loss);
    if (has_z_loss(*layer)) losses.push_back(layer->usage().z_loss);
  }
  return {tokens.empty() ? at::empty({0}, at::kLong) : at::cat(tokens),
          losses.empty() ? at::empty({0}, at::kDouble) : at::stack(losses).to(at::kDouble)};
}

std::vector<ExpertUsage> expert_usage(const NamedMoELayers& layers,
                                      const ExpertUsageTensors& on_host) {
  const auto* tokens = on_host.tokens.const_data_ptr<int64_t>();
  const auto* loss = on_host.losses.const_data_ptr<double>();
  std::vector<ExpertUsage> all;
  for (const auto& [name, layer] : layers) {
    ExpertUsage& of_layer = all.emplace_back(ExpertUsage{.layer = name});
    const auto* const end = tokens + layer->options().num_experts;
    of_layer.tokens_per_expert.assign(tokens, end);
    tokens = end;
    if (has_sequence_balance_loss(*layer)) of_layer.sequence_balance_loss = *loss++;
    if (has_z_loss(*layer)) of_layer.z_loss = *loss++;
  }
  return all;
}

std::vector<std::pair<std::string, double>> expert_usage_metrics(
    const std::vector<ExpertUsage>& layers) {
  std::vector<std::pair<std::string, double>> metrics;
  double busiest = 0, idlest = 0;
  int64_t unused = 0;
  std::vector<double> sequence_balance, z;
  for (const ExpertUsage& usage : layers) {
    const std::vector<int64_t>& counts = usage.tokens_per_expert;
    const auto total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
    if (total == 0) continue;
    const double mean = static_cast<double>(total) / static_cast<double>(counts.size());
    const auto [fewest, most] = std::minmax_element(counts.begin(), counts.end());
    const double min_load = static_cast<double>(*fewest) / mean;
    const double max_load = static_cast<double>(*most) / mean;
    idlest = metrics.empty() ? min_load : std::min(idlest, min_load);
    busiest = std::max(busiest, max_load);
    unused += std::count(counts.begin(), counts.end(), 0);
    metrics.emplace_back("moe/" + usage.layer + "/max_load", max_load);
    metrics.emplace_back("moe/" + usage.layer + "/min_load", min_load);
    if (usage.sequence_balance_loss) sequence_balance.push_back(*usage.sequence_balance_loss);
    if (usage.z_loss) z.push_back(*usage.z_loss);
  }
  if (metrics.empty()) return metrics;
  metrics.emplace_back("moe/max_load", busiest);
  metrics.emplace_back("moe/min_load", idlest);
  metrics.emplace_back("moe/unused_experts", static_cast<double>(unused));
  const auto add_mean = [&](const char* name, const std::vector<double>& of_layers) {
    if (of_layers.empty()) return;
    const double sum = std::accumulate(of_layers.begin(), of_layers.end(), 0.0);
    metrics.emplace_back(name, sum / static_cast<double>(of_layers.size()));
  };
  add_mean("moe/sequence_balance_loss", sequence_balance);
  add_mean("moe/z_loss", z);
  return metrics;
}

}  // namespace coeus::nn
