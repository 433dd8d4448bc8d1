// Plans to look at: for a terminal and for a slide.
#pragma once

#include <string>
#include <vector>

#include "coeus/parallel/context/plan/context_plan.h"
#include "coeus/parallel/context/plan/context_row.h"
#include "coeus/parallel/context/plan/plan_report.h"

namespace coeus {

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
