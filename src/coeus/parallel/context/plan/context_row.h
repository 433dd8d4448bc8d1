// A row as balancers see it: what each of its tokens costs, under all masks of the model at once.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "coeus/mask/block_mask.h"
#include "coeus/mask/sequence_layout.h"
#include "coeus/parallel/context/plan/context_plan.h"

namespace coeus {

/// A mask lowered for all tokens of a row over themselves, and how many layers attend under it.
struct LayersMask {
  std::string name;
  std::shared_ptr<const BlockMaskRow> row;
  int64_t layers = 1;
};

struct ContextRow {
  /// Throws Error for masks of another length than the row's, and for layers below 1.
  ContextRow(SequenceLayout layout, std::vector<LayersMask> masks);

  int64_t tokens() const { return layout.query_length(); }
  /// Pairs of query and key that the tokens of `runs` compute in all layers.
  int64_t work_of(const TokenRuns& runs) const;
  int64_t work() const { return work_before.back(); }
  /// The mask of the most layers.
  const LayersMask& main_mask() const;

  SequenceLayout layout;
  std::vector<LayersMask> masks;
  /// Pairs of query and key, in all layers, of the tokens before each; [tokens + 1].
  std::vector<int64_t> work_before;
  /// The same of the layers under each mask; [masks][tokens + 1].
  std::vector<std::vector<int64_t>> mask_work_before;
};

/// Row `row` of a batch's masks, which are lowered for its tokens over themselves. Masks that
/// `layers` does not name count as one layer.
ContextRow context_row(const SequenceLayout& layout, const AttentionMasks& masks, int64_t row,
                       const std::map<std::string, int64_t>& layers);

/// What a plan asks of the ranks.
struct PlanLoad {
  std::vector<int64_t> work;  ///< of each rank: pairs of query and key in all layers
  /// Tokens whose keys and values each rank gets from others when it gets those that its queries
  /// see, and gives to others, times the layers.
  std::vector<int64_t> received;
  std::vector<int64_t> sent;

  int64_t most_work() const;
  /// The busiest rank's work over the mean; 1 without any work.
  double imbalance() const;
  int64_t all_received() const;
};

std::vector<int64_t> work_by_rank(const ContextRow& row, const ContextPlan& plan);
PlanLoad load_of(const ContextRow& row, const ContextPlan& plan);

/// No plan with these counts can have a busiest rank with less work.
int64_t least_possible_work(const ContextRow& row, const std::vector<int64_t>& counts);

}  // namespace coeus
