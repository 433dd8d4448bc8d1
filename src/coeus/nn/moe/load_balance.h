// Balancing experts by a bias on their scores, and how they were used.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "coeus/nn/moe/moe.h"

namespace coeus::nn {

/// A model's mixture-of-experts layers from input to output, by name ("layers.1.moe").
using NamedMoELayers = std::vector<std::pair<std::string, std::shared_ptr<MoEImpl>>>;
NamedMoELayers moe_layers_of(const torch::nn::Module& model);

/// Moves each layer's expert_bias one step towards even use, by the tokens counted since the last
/// reset_usage(): by load_balance_coeff up for an expert below the mean and down for one above,
/// less the mean of these moves, so that biases sum to zero (TorchTitan's variant of arXiv
/// 2408.15664). Layers without a bias stay. sum_over_ranks: over the ranks that see other tokens;
/// one sum serves all layers. `moves`, bool [] on the layers' device: where false, all stay.
void update_expert_bias(const NamedMoELayers& layers, const SumOverRanks& sum_over_ranks = {},
                        const at::Tensor& moves = {});

/// How a layer's experts were used since the last reset_usage().
struct ExpertUsage {
  std::string layer;  ///< its name
  std::vector<int64_t> tokens_per_expert;
  std::optional<double> sequence_balance_loss, z_loss;  ///< none: the layer's coefficient is 0
};

/// Of each layer, on this rank. Waits for the device.
std::vector<ExpertUsage> expert_usage(const NamedMoELayers& layers);

/// The same of all layers as two tensors on their device, for sums over ranks: tokens of experts,
/// int64, and the losses that are on, float64; layer by layer.
struct ExpertUsageTensors {
  at::Tensor tokens;
  at::Tensor losses;
};
ExpertUsageTensors expert_usage_tensors(const NamedMoELayers& layers);
/// Reads them again, on the CPU.
std::vector<ExpertUsage> expert_usage(const NamedMoELayers& layers,
                                      const ExpertUsageTensors& on_host);

/// How evenly experts were used, as names and values for a step's metrics: for each layer
/// "moe/LAYER/max_load" and "moe/LAYER/min_load", the busiest and the idlest expert's tokens over
/// the mean; "moe/max_load", "moe/min_load" and "moe/unused_experts" over all layers; and the
/// auxiliary losses that are on, without their coefficients, "moe/z_loss" and
/// "moe/sequence_balance_loss", means over the layers that have them. Empty when nothing was
/// counted.
std::vector<std::pair<std::string, double>> expert_usage_metrics(
    const std::vector<ExpertUsage>& layers);

}  // namespace coeus::nn
