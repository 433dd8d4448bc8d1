// What plans ask of the ranks and cost, in figures and in words.
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

/// Those of some of the rows, by number.
PlanFigures figures_of_some(const std::vector<ContextRow>& rows,
                            const std::vector<ContextPlan>& plans,
                            const std::vector<int32_t>& numbers);

/// Throws Error unless the report has costs for each of the row's masks, or none.
void check_report(const PlanReport& report, const ContextRow& row);

/// "1 layer", "12 layers".
std::string layers_text(int64_t layers);
/// "max/mean work 1.004, at best 1.000".
std::string balance_text(const PlanFigures& figures);
/// How a mask's keys are exchanged, and what that costs.
std::string cost_text(const MethodCost& cost);
/// The seconds of all layers, and what they were reckoned by.
std::string expected_text(const PlanReport& report, const ContextRow& row);

}  // namespace coeus
