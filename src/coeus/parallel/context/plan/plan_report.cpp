#include "coeus/parallel/context/plan/plan_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "coeus/base/error.h"

namespace coeus {
namespace {

double sum_of(const std::vector<int64_t>& values) {
  return static_cast<double>(std::accumulate(values.begin(), values.end(), int64_t{0}));
}

int64_t layers_of(const ContextRow& row) {
  int64_t layers = 0;
  for (const LayersMask& mask : row.masks) layers += mask.layers;
  return layers;
}

void add_row(PlanFigures& figures, const ContextRow& row, const ContextPlan& plan) {
  const auto ranks = static_cast<size_t>(plan.rank_count());
  for (auto* sums : {&figures.tokens, &figures.work, &figures.needed, &figures.all})
    sums->resize(ranks);
  const PlanLoad load = load_of(row, plan);
  const std::vector<int64_t> counts = plan.counts();
  for (size_t rank = 0; rank < ranks; ++rank) {
    figures.tokens[rank] += counts[rank];
    figures.work[rank] += load.work[rank];
    figures.needed[rank] += load.received[rank];
    figures.all[rank] += (row.tokens() - counts[rank]) * layers_of(row);
  }
  // The row's own bound holds for all rows, and so does their mean.
  figures.least_work = std::max({figures.least_work, least_possible_work(row, counts),
                                 static_cast<int64_t>(std::ceil(figures.mean_work()))});
}

std::string size_text(int64_t bytes) {
  auto size = static_cast<double>(bytes);
  constexpr std::array kUnits = {"bytes", "KiB", "MiB", "GiB"};
  size_t unit = 0;
  for (; size >= 1024 && unit + 1 < kUnits.size(); ++unit) size /= 1024;
  return fmt::format("{:.{}f} {}", size, unit == 0 ? 0 : 1, kUnits[unit]);
}

std::string time_text(double seconds) {
  return seconds < 1 ? fmt::format("{:.3g} ms", 1e3 * seconds) : fmt::format("{:.2f} s", seconds);
}

}  // namespace

double PlanFigures::mean_work() const {
  return work.empty() ? 0 : sum_of(work) / static_cast<double>(work.size());
}

double PlanFigures::max_over_mean() const {
  const double mean = mean_work();
  return mean == 0 ? 1 : static_cast<double>(*std::max_element(work.begin(), work.end())) / mean;
}

double PlanFigures::lower_bound() const {
  const double mean = mean_work();
  return mean == 0 ? 1 : static_cast<double>(least_work) / mean;
}

PlanFigures figures_of(const std::vector<ContextRow>& rows, const std::vector<ContextPlan>& plans) {
  COEUS_CHECK(!rows.empty() && rows.size() == plans.size(),
              "[plan figures] {} rows and {} plans; give one plan a row", rows.size(),
              plans.size());
  for (size_t i = 0; i < plans.size(); ++i) {
    COEUS_CHECK(plans[i].rank_count() == plans[0].rank_count(),
                "[plan figures] a plan for {} ranks beside one for {}", plans[i].rank_count(),
                plans[0].rank_count());
    const std::vector<int64_t> counts = plans[i].counts();
    const int64_t tokens = std::accumulate(counts.begin(), counts.end(), int64_t{0});
    COEUS_CHECK(tokens == rows[i].tokens(), "[plan figures] a plan of {} tokens for a row of {}",
                tokens, rows[i].tokens());
  }
  std::vector<int32_t> numbers(rows.size());
  std::iota(numbers.begin(), numbers.end(), 0);
  return figures_of_some(rows, plans, numbers);
}

PlanFigures figures_of_some(const std::vector<ContextRow>& rows,
                            const std::vector<ContextPlan>& plans,
                            const std::vector<int32_t>& numbers) {
  PlanFigures figures;
  for (const int32_t number : numbers) add_row(figures, rows[number], plans[number]);
  return figures;
}

void check_report(const PlanReport& report, const ContextRow& row) {
  COEUS_CHECK(report.costs.empty() || report.costs.size() == row.masks.size(),
              "[plan report] costs of {} masks for rows with {}; give one a mask, or none",
              report.costs.size(), row.masks.size());
}

std::string layers_text(int64_t layers) {
  return layers == 1 ? "1 layer" : fmt::format("{} layers", layers);
}

std::string balance_text(const PlanFigures& figures) {
  return fmt::format("max/mean work {:.3f}, at best {:.3f}", figures.max_over_mean(),
                     figures.lower_bound());
}

std::string cost_text(const MethodCost& cost) {
  return fmt::format("{}, max/mean work {:.3f}, at most {} to a rank, {} a layer",
                     name_of(cost.method), cost.imbalance, size_text(cost.most_received_bytes()),
                     time_text(cost.seconds));
}

std::string expected_text(const PlanReport& report, const ContextRow& row) {
  double seconds = 0;
  for (size_t i = 0; i < report.costs.size(); ++i)
    seconds += report.costs[i].seconds * static_cast<double>(row.masks[i].layers);
  const ContextCostModel& model = report.model;
  return fmt::format(
      "expected {} of attention in {}, forward and backward, where a rank does {:.4g} GFLOP/s and "
      "gets {:.3g} GB/s: {} heads, {} of keys and values, {} + {} numbers of {} bytes",
      time_text(seconds), layers_text(layers_of(row)), 1e-9 * model.flops_per_second,
      1e-9 * model.bytes_per_second, model.heads, model.kv_heads, model.key_dim, model.value_dim,
      model.element_size);
}

}  // namespace coeus
