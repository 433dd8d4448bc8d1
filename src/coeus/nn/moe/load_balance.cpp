#include "coeus/nn/moe/load_balance.h"

#include <torch/types.h>

#include <algorithm>

#include "coeus/base/error.h"

namespace coeus::nn {

namespace {

/// [layers, num_experts] of the given layers' counts.
at::Tensor counts_of(const std::vector<MoEImpl*>& layers) {
  std::vector<at::Tensor> counts;
  for (MoEImpl* layer : layers) counts.push_back(layer->usage().tokens_per_expert);
  return at::stack(counts);
}

}  // namespace

NamedMoELayers moe_layers_of(const torch::nn::Module& model) {
  NamedMoELayers layers;
  for (const auto& item : model.named_modules("", /*include_self=*/false))
    if (auto layer = std::dynamic_pointer_cast<MoEImpl>(item.value()))
      layers.emplace_back(item.key(), std::move(layer));
  return layers;
}

void update_expert_bias(const NamedMoELayers& layers, const SumOverRanks& sum_over_ranks) {
  std::vector<MoEImpl*> balanced;
  for (const auto& [name, layer] : layers)
    if (layer->expert_bias.defined()) balanced.push_back(layer.get());
  if (balanced.empty()) return;
  at::NoGradGuard no_grad;
  at::Tensor counts = counts_of(balanced);
  if (sum_over_ranks) sum_over_ranks(counts);
  // In whole numbers: mean - tokens has the sign of total - experts * tokens.
  const at::Tensor direction =
      at::sign(counts.sum(1, /*keepdim=*/true) - counts * counts.size(1)).to(at::kFloat);
  for (size_t i = 0; i < balanced.size(); ++i) {
    const at::Tensor move =
        direction[static_cast<int64_t>(i)] * *balanced[i]->options().load_balance_coeff;
    balanced[i]->expert_bias.add_(move - move.mean());
  }
}

std::vector<std::pair<std::string, double>> expert_usage_metrics(const NamedMoELayers& layers) {
  std::vector<std::pair<std::string, double>> metrics;
  double busiest = 0, idlest = 0, unused = 0, sequence_balance = 0, z = 0;
  bool has_sequence_balance = false, has_z = false;
  for (const auto& [name, layer] : layers) {
    MoEUsage& usage = layer->usage();
    const at::Tensor counts = usage.tokens_per_expert.to(at::kCPU, at::kDouble);
    const double mean = counts.mean().item<double>();
    if (mean == 0) continue;
    const double most = counts.max().item<double>() / mean;
    const double least = counts.min().item<double>() / mean;
    idlest = metrics.empty() ? least : std::min(idlest, least);
    busiest = std::max(busiest, most);
    unused += (counts == 0).sum().item<double>();
    metrics.emplace_back("moe/" + name + "/max_load", most);
    metrics.emplace_back("moe/" + name + "/min_load", least);
    const auto of_layers = static_cast<double>(layers.size());
    if (layer->options().sequence_balance_loss_coeff != 0) {
      has_sequence_balance = true;
      sequence_balance += usage.sequence_balance_loss.item<double>() / of_layers;
    }
    if (layer->options().z_loss_coeff != 0) {
      has_z = true;
      z += usage.z_loss.item<double>() / of_layers;
    }
  }
  if (metrics.empty()) return metrics;
  metrics.emplace_back("moe/max_load", busiest);
  metrics.emplace_back("moe/min_load", idlest);
  metrics.emplace_back("moe/unused_experts", unused);
  if (has_sequence_balance) metrics.emplace_back("moe/sequence_balance_loss", sequence_balance);
  if (has_z) metrics.emplace_back("moe/z_loss", z);
  return metrics;
}

}  // namespace coeus::nn
