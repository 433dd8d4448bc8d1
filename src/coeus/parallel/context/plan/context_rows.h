// The rows of a micro-batch under context parallelism: planned once on the host, then selected.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "coeus/mask/block_mask.h"
#include "coeus/mask/context_shard.h"
#include "coeus/mask/sequence_layout.h"
#include "coeus/parallel/context/plan/balancer.h"
#include "coeus/parallel/context/plan/context_cost.h"
#include "coeus/parallel/context/plan/context_plan.h"
#include "coeus/parallel/context/plan/context_row.h"

namespace coeus {

struct ContextOptions {
  int64_t ranks = 1;
  int64_t rank = 0;
  Balancer balancer = Balancer::kJoint;
  /// How keys reach other ranks' queries; nothing: for each mask the cheapest by `cost`.
  std::optional<ContextMethod> method = {};
  double slack = 0;  ///< see BalanceOptions
  ContextCostModel cost = {};
};

/// The masks of a model for rows whose queries and keys may be any: its get_attention_masks.
using LowerMasks = std::function<AttentionMasks(std::span<const SequenceLayout> rows)>;

/// Rows and how they are dealt: the same on all ranks that share them.
struct ContextRows {
  std::vector<ContextRow> rows;
  std::vector<ContextPlan> plans;             ///< one a row; each rank has as many tokens of each
  std::map<std::string, MethodCost> methods;  ///< for each mask the method taken, and its cost

  int64_t tokens_on(int64_t rank) const { return count(plans.at(0).ranks.at(rank)); }
  int64_t row_length() const { return rows.at(0).tokens(); }
  uint64_t hash() const;
};

/// Plans rows, and makes of them what one rank needs. Has no state: any thread may call it.
class ContextRowPlanner {
 public:
  /// `layers`: how many layers attend under each mask (Model::layers_by_mask). Throws Error for a
  /// rank that is none of `ranks`.
  ContextRowPlanner(const ContextOptions& options, LowerMasks lower,
                    std::map<std::string, int64_t> layers);

  /// The rows with their masks lowered; all must be of one length.
  std::vector<ContextRow> lower_rows(std::span<const SequenceLayout> rows) const;
  /// Deals them. Throws ConfigError for rows with fewer tokens than there are ranks.
  ContextRows plan(std::vector<ContextRow> rows) const;
  ContextRows plan(std::span<const SequenceLayout> rows) const { return plan(lower_rows(rows)); }

  /// The masks for this rank's queries, sharded.
  AttentionMasks masks(const ContextRows& rows) const;
  /// The layouts of this rank's queries over all keys.
  std::vector<SequenceLayout> layouts(const ContextRows& rows) const;

  const ContextOptions& options() const { return options_; }

 private:
  ContextOptions options_;
  LowerMasks lower_;
  std::map<std::string, int64_t> layers_;
};

/// Of values [rows, row_length], row-major, those of a rank's tokens, [rows, its tokens].
template <class T>
std::vector<T> select_tokens(const std::vector<T>& values, const ContextRows& rows, int64_t rank) {
  std::vector<T> selected;
  selected.reserve(rows.plans.size() * static_cast<size_t>(rows.tokens_on(rank)));
  for (size_t row = 0; row < rows.plans.size(); ++row) {
    const auto begin = values.begin() + static_cast<int64_t>(row) * rows.row_length();
    for (const TokenRun& run : rows.plans[row].ranks[rank])
      selected.insert(selected.end(), begin + run.begin, begin + run.end);
  }
  return selected;
}

}  // namespace coeus
