// What a run says about its attention: the masks, the engines, the comparison of engines.
#pragma once

#include <string>
#include <vector>

#include "coeus/mask/block_mask.h"
#include "coeus/ops/attention_report.h"
#include "coeus/train/metrics/tensorboard.h"

namespace coeus {

/// For people: each mask by name with its figures, and a picture of each of its rows (of rows
/// lowered once for several, one).
std::string masks_text(const AttentionMasks& masks);

/// Which engine computes which mask in which layers, and why: a line for each mask and engine.
/// `masks` are those of the batch that the report's first calls were for; they give the names.
std::vector<std::string> engine_lines(const std::vector<AttentionLayerReport>& layers,
                                      const AttentionMasks& masks);

/// For people: how far each layer's engine was from the reference (attention.engine = "check").
std::string attention_check_table(const std::vector<AttentionLayerReport>& layers);

/// The worst differences of all layers so far, for metrics.jsonl and TensorBoard.
Scalars attention_check_metrics(const AttentionDifference& worst);

}  // namespace coeus
