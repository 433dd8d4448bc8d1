#include <fmt/format.h>

#include <algorithm>

#include "coeus/parallel/context/plan/draw_plan.h"

namespace coeus {
namespace {

/// Of each of `cells` equal parts of the row, the share that a rank owns.
std::string bar(const TokenRuns& owned, int64_t tokens, int64_t cells) {
  std::string text;
  for (int64_t cell = 0; cell < cells; ++cell) {
    const TokenRun part = {cell * tokens / cells, (cell + 1) * tokens / cells};
    const int64_t own = count(intersection(owned, {part}));
    text += own == 0                    ? " "
            : own == part.size()        ? "█"
            : 3 * own < part.size()     ? "░"
            : 3 * own < 2 * part.size() ? "▒"
                                        : "▓";
  }
  return text;
}

/// The numbers of the rows that have one plan, plan by plan.
std::vector<std::vector<int32_t>> rows_by_plan(const std::vector<ContextPlan>& plans) {
  std::vector<std::vector<int32_t>> groups;
  for (size_t i = 0; i < plans.size(); ++i) {
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const auto& rows) { return plans[rows.front()] == plans[i]; });
    if (group == groups.end()) group = groups.insert(groups.end(), std::vector<int32_t>{});
    group->push_back(static_cast<int32_t>(i));
  }
  return groups;
}

/// "row 2", "rows 0 to 3, 5".
std::string rows_text(const std::vector<int32_t>& numbers) {
  std::string text = numbers.size() == 1 ? "row" : "rows";
  const char* before = " ";
  for (const TokenRun& run : runs_of(numbers)) {
    text += fmt::format("{}{}", before, run.begin);
    if (run.size() > 1) text += fmt::format(" to {}", run.end - 1);
    before = ", ";
  }
  return text;
}

std::string ranks_text(const PlanFigures& figures, const ContextRow& row, const ContextPlan& plan) {
  constexpr int64_t kMostCells = 64;
  const int64_t cells = std::min(kMostCells, row.tokens());
  std::string text = fmt::format("rank {:{}}  {:>9} {:>10}  {}\n", "", cells + 2, "tokens",
                                 "work/mean", "K/V tokens needed from others");
  for (size_t rank = 0; rank < plan.ranks.size(); ++rank) {
    const double mean = figures.mean_work();
    const auto all = static_cast<double>(std::max<int64_t>(1, figures.all[rank]));
    text +=
        fmt::format("{:>4} |{}|  {:>9} {:>10.3f}  {:>12} ({:.1f} %)\n", rank,
                    bar(plan.ranks[rank], row.tokens(), cells), figures.tokens[rank],
                    mean == 0 ? 1 : static_cast<double>(figures.work[rank]) / mean,
                    figures.needed[rank], 100 * static_cast<double>(figures.needed[rank]) / all);
  }
  return text;
}

}  // namespace

std::string plan_text(const std::vector<ContextRow>& rows, const std::vector<ContextPlan>& plans,
                      const PlanReport& report) {
  const PlanFigures figures = figures_of(rows, plans);
  const ContextRow& first = rows.front();
  check_report(report, first);
  std::string text = fmt::format("context parallel over {} ranks, balancer {}", figures.work.size(),
                                 name_of(report.balancer));
  if (report.plan_milliseconds)
    text += fmt::format(", planned in {:.3f} ms", *report.plan_milliseconds);
  text += '\n';
  const auto groups = rows_by_plan(plans);
  for (const auto& group : groups) {
    const PlanFigures of_group = figures_of_some(rows, plans, group);
    if (rows.size() > 1) text += rows_text(group) + ": " + balance_text(of_group) + '\n';
    text += ranks_text(of_group, rows[group.front()], plans[group.front()]);
  }
  if (rows.size() > 1) text += "all rows: ";
  text += balance_text(figures) + '\n';
  for (size_t i = 0; i < report.costs.size(); ++i)
    text += fmt::format("mask \"{}\", {}: {}\n", first.masks[i].name,
                        layers_text(first.masks[i].layers), cost_text(report.costs[i]));
  if (!report.costs.empty()) text += expected_text(report, first) + '\n';
  return text;
}

}  // namespace coeus
