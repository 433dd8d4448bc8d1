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

std::vector<ExpertUsage> expert_usage(const NamedMoELayers& layers) {
  std::vector<ExpertUsage> all;
  for (const auto& [name, layer] : layers) {
    MoEUsage& usage = layer->usage();
    const at::Tensor counts = usage.tokens_per_expert.to(at::kCPU);
    const auto* count = counts.const_data_ptr<int64_t>();
    ExpertUsage& of_layer = all.emplace_back(ExpertUsage{.layer = name});
    of_layer.tokens_per_expert.assign(count, count + counts.numel());
    if (layer->options().sequence_balance_loss_coeff != 0)
      of_layer.sequence_balance_loss = usage.sequence_balance_loss.item<double>();
    if (layer->options().z_loss_coeff != 0) of_layer.z_loss = usage.z_loss.item<double>();
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
