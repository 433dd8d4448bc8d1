// Plans to look at: for a terminal and for a slide.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coeus/parallel/context/plan/balancer.h"
#include "coeus/parallel/context/plan/context_cost.h"
#include "coeus/parallel/context/plan/context_plan.h"
#include "coeus/parallel/context/plan/context_row.h"

namespace coeus {

/// What is told of plans beside what they themselves say.
struct PlanReport {
  Balancer balancer = Balancer::kJoint;
  /// How keys and values are exchanged under each of the rows' masks, in their order; may be empty.
  std::vector<MethodCost> costs;
  /// What `costs` were reckoned by.
  ContextCostModel model;
  /// How long the plans took to make.
  std::optional<double> plan_milliseconds = {};
};

/// What plans ask of the ranks, summed over rows.
struct PlanFigures {
  std::vector<int64_t> tokens;  ///< of each rank
  std::vector<int64_t> work;    ///< pairs of query and key in all layers
  /// Tokens in all layers whose keys and values each rank gets from others when it gets those that
  /// its queries see, and when it gets all.
  std::vector<int64_t> needed;
  std::vector<int64_t> all;
  /// No plans with these counts have a busiest rank with less work.
  int64_t least_work = 0;

  /// The mean of the ranks' work.
  double mean_work() const;
  /// The busiest rank's work over the mean; 1 without any work.
  double max_over_mean() const;
  /// What max_over_mean is at best.
  double lower_bound() const;
};

/// Throws Error unless there is a plan for each row, of its tokens, all for equally many ranks.
PlanFigures figures_of(const std::vector<ContextRow>& rows, const std::vector<ContextPlan>& plans);

/// Lines of text. For each rank a bar over the row, `░▒▓█` by the share of each cell that it owns,
/// its tokens, its work over the mean, and the tokens whose keys and values it needs from others;
/// rows with equal plans stand together, summed up. Then the busiest rank's work over the mean and,
/// from `report`, each mask's method with bytes and expected time. Throws Error as figures_of does,
/// and where the costs are not as many as the rows' masks.
std::string plan_text(const std::vector<ContextRow>& rows, const std::vector<ContextPlan>& plans,
                      const PlanReport& report);

/// An SVG page of one row: each of its masks with the queries in the colour of the rank that owns
/// them, document boundaries, and for each rank a bar of its work, divided by masks, and of what it
/// needs from others. Throws Error as plan_text does.
std::string plan_svg(const ContextRow& row, const ContextPlan& plan, const PlanReport& report,
                     const std::string& title);

}  // namespace coeus
