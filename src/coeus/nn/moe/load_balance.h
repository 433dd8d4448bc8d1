// Balancing experts by a bias on their scores, and how they were used.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "coeus/nn/moe/moe.h"

namespace coeus::nn {

/// A model's mixture-of-experts layers from input to output, by name ("layers.1.moe").
using NamedMoELayers = std::vector<std::pair<std::string, std::shared_ptr<MoEImpl>>>;
NamedMoELayers moe_layers_of(const torch::nn::Module& model);

/// Sums a tensor in place over the ranks that see other tokens; empty for a single process.
using SumOverRanks = std::function<void(at::Tensor&)>;

/// Moves each layer's expert_bias one step towards even use, by the tokens counted since the last
/// reset_usage(): by load_balance_coeff up for an expert below the mean and down for one above,
/// less the mean of these moves, so that biases sum to zero (TorchTitan's variant of arXiv
/// 2408.15664). Layers without a bias stay. One sum over ranks serves all layers.
void update_expert_bias(const NamedMoELayers& layers, const SumOverRanks& sum_over_ranks = {});

/// How evenly experts were used since the last reset_usage(), as names and values for a step's
/// metrics: for each layer "moe/LAYER/max_load" and "moe/LAYER/min_load", the busiest and the
/// idlest expert's tokens over the mean; "moe/max_load", "moe/min_load" and "moe/unused_experts"
/// over all layers; and the auxiliary losses that are on, without their coefficients, "moe/z_loss"
/// and "moe/sequence_balance_loss", means over layers. Reads from the device; empty when nothing
/// was counted.
std::vector<std::pair<std::string, double>> expert_usage_metrics(const NamedMoELayers& layers);

}  // namespace coeus::nn
