#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "coeus/parallel/context/plan/balancer_table.h"

namespace coeus {
namespace {

constexpr double kPlotLeft = 66;
constexpr double kPlotTop = 104;
constexpr double kPlotGap = 62;
constexpr double kNarrowestPlot = 640;
/// Faster plans are drawn as if they took this long.
constexpr double kLeastMilliseconds = 1e-3;
constexpr const char* kInk = "#1d2433";
constexpr const char* kGrid = "#dde2ea";

struct LineStyle {
  Balancer balancer;
  const char* colour;
  double width;
};
/// In the order in which they are drawn: what is drawn later lies above.
constexpr std::array<LineStyle, 5> kLineStyles = {{
    {Balancer::kNone, "#8a93a5", 2.5},
    {Balancer::kHeadTail, "#ec9a29", 4.5},
    {Balancer::kPerDocument, "#2f8a52", 3.5},
    {Balancer::kPtrr, "#b5446e", 2.5},
    {Balancer::kJoint, "#2a5ea8", 2.2},
}};

struct Curve {
  const LineStyle* style;
  std::vector<std::pair<double, double>> points;
};

struct PlotPanel {
  std::string title;
  size_t column = 0;
  size_t row = 0;
  std::vector<Curve> curves;
};

/// One axis that all panels share.
struct Axis {
  double low = 0;
  double high = 1;
  bool is_logarithmic = false;
  std::vector<std::pair<double, std::string>> ticks;

  /// From 0, at `low`, to 1, at `high`.
  double place(double value) const {
    if (is_logarithmic) return std::log(value / low) / std::log(high / low);
    return (value - low) / (high - low);
  }
};

std::string words_at(double x, double y, const char* style, const std::string& words) {
  return fmt::format("<text x='{:.1f}' y='{:.1f}' {}>{}</text>\n", x, y, style, words);
}

std::string grid_line(double x0, double y0, double x1, double y1) {
  return fmt::format("<line x1='{:.1f}' y1='{:.1f}' x2='{:.1f}' y2='{:.1f}' stroke='{}'/>\n", x0,
                     y0, x1, y1, kGrid);
}

struct Plot {
  std::string title;
  std::string axes;
  std::vector<PlotPanel> panels;
  Axis x_axis;
  Axis y_axis;
  double panel_width = 190;
  double panel_height = 120;
};

/// Line and figure of each tick of both axes.
std::string draw_ticks(const Plot& plot, double left, double top) {
  const double right = left + plot.panel_width;
  const double bottom = top + plot.panel_height;
  std::string out;
  for (const auto& [value, words] : plot.y_axis.ticks) {
    const double y = bottom - plot.panel_height * plot.y_axis.place(value);
    out += grid_line(left, y, right, y);
    out += words_at(left - 6, y + 4, "text-anchor='end' font-size='11'", words);
  }
  for (const auto& [value, words] : plot.x_axis.ticks) {
    const double x = left + plot.panel_width * plot.x_axis.place(value);
    out += grid_line(x, top, x, bottom);
    out += words_at(x, bottom + 15, "text-anchor='middle' font-size='11'", words);
  }
  return out;
}

std::string draw_panel(const Plot& plot, const PlotPanel& panel) {
  const double left = kPlotLeft + (plot.panel_width + kPlotGap) * static_cast<double>(panel.column);
  const double top = kPlotTop + (plot.panel_height + kPlotGap) * static_cast<double>(panel.row);
  std::string out = draw_ticks(plot, left, top);
  out += words_at(left, top - 8, "font-size='12' font-weight='bold'", panel.title);
  for (const Curve& curve : panel.curves) {
    std::vector<std::string> points;
    for (const auto& [at, value] : curve.points)
      points.push_back(fmt::format("{:.1f},{:.1f}", left + plot.panel_width * plot.x_axis.place(at),
                                   top + plot.panel_height * (1 - plot.y_axis.place(value))));
    // A single point is a line without length, of which the round caps are seen.
    if (points.size() == 1) points.push_back(points[0]);
    out += fmt::format(
        "<polyline points='{}' fill='none' stroke='{}' stroke-width='{}' stroke-linejoin='round' "
        "stroke-linecap='round'/>\n",
        fmt::join(points, " "), curve.style->colour, curve.style->width);
  }
  return out;
}

std::string legend(const std::vector<PlotPanel>& panels, double y) {
  double x = kPlotLeft;
  std::string out;
  for (const LineStyle& style : kLineStyles) {
    const auto draws = [&](const PlotPanel& panel) {
      return std::any_of(panel.curves.begin(), panel.curves.end(),
                         [&](const Curve& curve) { return curve.style == &style; });
    };
    if (std::none_of(panels.begin(), panels.end(), draws)) continue;
    out += fmt::format(
        "<line x1='{:.1f}' y1='{:.1f}' x2='{:.1f}' y2='{:.1f}' stroke='{}' stroke-width='{}'/>\n",
        x, y, x + 22, y, style.colour, style.width);
    const std::string name(name_of(style.balancer));
    out += words_at(x + 28, y + 4, "font-size='12'", name);
    x += 52 + 7 * static_cast<double>(name.size());
  }
  return out;
}

std::string draw(const Plot& plot) {
  size_t columns = 1, rows = 1;
  for (const PlotPanel& panel : plot.panels) {
    columns = std::max(columns, panel.column + 1);
    rows = std::max(rows, panel.row + 1);
  }
  const double width = std::max(
      kNarrowestPlot, kPlotLeft + (plot.panel_width + kPlotGap) * static_cast<double>(columns));
  const double height = kPlotTop + (plot.panel_height + kPlotGap) * static_cast<double>(rows) - 20;
  std::string out = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0:.0f} {1:.0f}' width='{0:.0f}' "
      "height='{1:.0f}' font-family='Helvetica, Arial, sans-serif' fill='{2}'>\n"
      "<rect width='100%' height='100%' fill='#ffffff'/>\n",
      width, height, kInk);
  out += words_at(kPlotLeft, 24, "font-size='17' font-weight='bold'", plot.title);
  out += words_at(kPlotLeft, 43, "font-size='12'", plot.axes);
  out += legend(plot.panels, 64);
  for (const PlotPanel& panel : plot.panels) out += draw_panel(plot, panel);
  return out + "</svg>\n";
}

Axis percent_axis() {
  Axis axis = {.high = 100};
  for (const int value : {0, 25, 50, 75, 100})
    axis.ticks.emplace_back(value, std::to_string(value));
  return axis;
}

/// For shares of the mean, from 1 on: what is near 1 is told apart.
Axis imbalance_axis(double most) {
  Axis axis = {1, std::max(most, 1.5), true, {}};
  for (const double value : {1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0})
    if (value <= axis.high) axis.ticks.emplace_back(value, fmt::format("{:.6g}", value));
  return axis;
}

Axis axis_of_powers(const std::set<int64_t>& values) {
  Axis axis = {
      static_cast<double>(*values.begin()), static_cast<double>(*values.rbegin()), true, {}};
  if (values.size() == 1) axis.high = 2 * axis.low;
  for (const int64_t value : values)
    axis.ticks.emplace_back(static_cast<double>(value), value % 1024 == 0
                                                            ? fmt::format("{}K", value / 1024)
                                                            : std::to_string(value));
  return axis;
}

/// A figure of each plan by the number of ranks: a panel for each mix of masks and documents, a
/// curve for each balancer.
using PlanFigure = std::function<double(const BalancerCase&, const BalancerFigures&)>;

std::vector<PlotPanel> panels_by_ranks(const BalancerTable& table, int64_t tokens,
                                       const PlanFigure& figure, bool only_several_masks) {
  std::vector<PlotPanel> panels;
  size_t row = 0;
  for (const MaskMix masks : table.options.masks) {
    if (only_several_masks && masks_of(masks).size() < 2) continue;
    size_t column = 0;
    for (const DocumentMix documents : table.options.documents) {
      PlotPanel panel = {
          fmt::format("{}, {}", name_of(masks), name_of(documents)), column, row, {}};
      for (const LineStyle& style : kLineStyles) {
        Curve curve = {&style, {}};
        for (const BalancerCase& of : table.cases)
          for (const BalancerFigures& plan : of.plans)
            if (of.tokens == tokens && of.masks == masks && of.documents == documents &&
                plan.balancer == style.balancer)
              curve.points.emplace_back(static_cast<double>(of.ranks), figure(of, plan));
        if (!curve.points.empty()) panel.curves.push_back(std::move(curve));
      }
      if (panel.curves.empty()) continue;
      panels.push_back(std::move(panel));
      ++column;
    }
    if (column > 0) ++row;
  }
  return panels;
}

double largest_of(const std::vector<PlotPanel>& panels) {
  double largest = 0;
  for (const PlotPanel& panel : panels)
    for (const Curve& curve : panel.curves)
      for (const auto& point : curve.points) largest = std::max(largest, point.second);
  return largest;
}

/// The slowest of a balancer's plans, by the row's length.
Curve planning_curve(const BalancerTable& table, const LineStyle& style) {
  std::map<int64_t, double> slowest;
  for (const BalancerCase& of : table.cases)
    for (const BalancerFigures& plan : of.plans)
      if (plan.balancer == style.balancer)
        slowest[of.tokens] = std::max({slowest[of.tokens], plan.plan_ms, kLeastMilliseconds});
  Curve curve = {&style, {}};
  for (const auto& [tokens, time] : slowest)
    curve.points.emplace_back(static_cast<double>(tokens), time);
  return curve;
}

Plot planning_plot(const BalancerTable& table) {
  std::set<int64_t> lengths;
  for (const BalancerCase& of : table.cases) lengths.insert(of.tokens);
  PlotPanel panel = {"all masks, documents and ranks"};
  double least = 1, most = 1;
  for (const LineStyle& style : kLineStyles) {
    Curve curve = planning_curve(table, style);
    if (curve.points.empty()) continue;
    for (const auto& point : curve.points) {
      least = std::min(least, point.second);
      most = std::max(most, point.second);
    }
    panel.curves.push_back(std::move(curve));
  }
  Axis y_axis = {std::pow(10, std::floor(std::log10(least))),
                 std::pow(10, std::floor(std::log10(most)) + 1),
                 true,
                 {}};
  for (double value = y_axis.low; value < 1.5 * y_axis.high; value *= 10)
    y_axis.ticks.emplace_back(value, fmt::format("{:.6g}", value));
  return {.title = "Time to plan a row",
          .axes = "the slowest case, ms of CPU time, against the row's tokens",
          .panels = {panel},
          .x_axis = axis_of_powers(lengths),
          .y_axis = y_axis,
          .panel_width = 480,
          .panel_height = 260};
}

/// What the plots by number of ranks are of.
struct PlotOf {
  const char* file;
  const char* title;
  const char* what;
  bool is_share_of_mean;  ///< max/mean; otherwise a percentage
  PlanFigure figure;
  bool only_several_masks = false;
};

std::vector<PlotOf> plots_of(const BalancerTable& table) {
  std::vector<PlotOf> plots = {
      {"work.svg", "Work of the busiest rank", "max/mean of the work in all layers", true,
       [](const BalancerCase&, const BalancerFigures& plan) { return plan.imbalance; }},
      {"layers.svg", "Work of each layer's busiest rank", "max/mean, layer by layer,", true,
       [](const BalancerCase&, const BalancerFigures& plan) { return plan.layer_imbalance; },
       true}};
  const std::vector<ContextMethod>& methods = table.options.methods;
  if (std::count(methods.begin(), methods.end(), ContextMethod::kNeeded) > 0) {
    const auto token = static_cast<double>(table.options.model.key_value_bytes());
    plots.push_back({"needed.svg", "Keys that ranks need of each other",
                     "bytes of method needed, % of allgather's,", false,
                     [token](const BalancerCase& of, const BalancerFigures& plan) {
                       const double all = token * static_cast<double>(of.tokens) *
                                          (1 - 1 / static_cast<double>(of.ranks));
                       return 100 * plan.of(ContextMethod::kNeeded).mean_bytes / all;
                     }});
  }
  plots.push_back({"time.svg", "How near attention comes to perfect division",
                   "time if evenly divided and nothing exchanged, % of the expected time,", false,
                   [](const BalancerCase& of, const BalancerFigures& plan) {
                     return 100 * of.ideal_seconds / plan.best_seconds;
                   }});
  return plots;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> table_plots(const BalancerTable& table) {
  const int64_t tokens = shown_tokens(table);
  std::set<int64_t> ranks;
  for (const BalancerCase& of : table.cases)
    if (of.tokens == tokens) ranks.insert(of.ranks);
  std::vector<std::pair<std::string, std::string>> plots;
  for (const PlotOf& plot : plots_of(table)) {
    const auto panels = panels_by_ranks(table, tokens, plot.figure, plot.only_several_masks);
    if (panels.empty()) continue;
    plots.emplace_back(
        plot.file, draw({.title = plot.title,
                         .axes = fmt::format("{} against the number of ranks; rows of {} tokens",
                                             plot.what, tokens),
                         .panels = panels,
                         .x_axis = axis_of_powers(ranks),
                         .y_axis = plot.is_share_of_mean ? imbalance_axis(largest_of(panels))
                                                         : percent_axis()}));
  }
  plots.emplace_back("planning.svg", draw(planning_plot(table)));
  return plots;
}

}  // namespace coeus
