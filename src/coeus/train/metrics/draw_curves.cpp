#include "coeus/train/metrics/draw_curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "coeus/base/shortest_number.h"

namespace coeus {

namespace {

constexpr double kLeft = 90;
constexpr double kRight = 760;
constexpr double kWidth = 780;
constexpr const char* kInk = "#1d2433";
constexpr const char* kGrid = "#dde2ea";
constexpr const char* kColourA = "#ec9a29";
constexpr const char* kColourB = "#2a5ea8";

std::string escape(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '&')
      escaped += "&amp;";
    else if (c == '<')
      escaped += "&lt;";
    else if (c == '>')
      escaped += "&gt;";
    else
      escaped += c;
  }
  return escaped;
}

/// One panel's values by step.
struct Points {
  std::vector<std::pair<int64_t, double>> values;
  const char* colour;
  double width;
};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  /// With some air around it, and never empty.
  Range padded() const {
    if (low > high) return {0, 1};
    double air = 0.05 * (high - low);
    if (air == 0) air = low == 0 ? 1 : 0.05 * std::abs(low);
    return {low - air, high + air};
  }
};

/// 1, 2 or 5 times a power of ten, so that about `count` of it make up the range.
double tick_distance(const Range& range, double count) {
  const double rough = (range.high - range.low) / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  const double digit = rough / power;
  return power * (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10);
}

class Panel {
 public:
  Panel(double top, double bottom, Range steps, Range values)
      : top_(top), bottom_(bottom), steps_(steps), values_(values) {}

  void draw_axes(std::string& out, const std::string& title) const {
    for_ticks(values_, 5, [&](double value) {
      line(out, kLeft, y(value), kRight, y(value));
      text(out, kLeft - 8, y(value) + 4, "end", fmt::format("{:.6g}", value));
    });
    for_ticks(steps_, 8, [&](double step) {
      if (step != std::floor(step)) return;
      line(out, x(step), top_, x(step), bottom_);
      text(out, x(step), bottom_ + 18, "middle", fmt::format("{}", step));
    });
    text(out, kLeft, top_ - 8, "start", title);
  }

  void draw(std::string& out, const Points& points) const {
    std::vector<std::string> run;
    const auto end_run = [&] {
      // A single point is a line without length, of which the round caps are seen.
      if (run.size() == 1) run.push_back(run[0]);
      if (!run.empty())
        out += fmt::format(
            "<polyline points='{}' fill='none' stroke='{}' stroke-width='{}' "
            "stroke-linejoin='round' stroke-linecap='round'/>\n",
            fmt::join(run, " "), points.colour, points.width);
      run.clear();
    };
    for (const auto& [step, value] : points.values) {
      if (!std::isfinite(value)) {
        end_run();
        continue;
      }
      run.push_back(fmt::format("{:.2f},{:.2f}", x(static_cast<double>(step)), y(value)));
    }
    end_run();
  }

  static void text(std::string& out, double x, double y, const char* anchor,
                   const std::string& words) {
    out += fmt::format("<text x='{:.2f}' y='{:.2f}' text-anchor='{}'>{}</text>\n", x, y, anchor,
                       escape(words));
  }

 private:
  double x(double step) const {
    return kLeft + (step - steps_.low) / (steps_.high - steps_.low) * (kRight - kLeft);
  }
  double y(double value) const {
    return bottom_ - (value - values_.low) / (values_.high - values_.low) * (bottom_ - top_);
  }
  static void line(std::string& out, double x0, double y0, double x1, double y1) {
    out += fmt::format("<line x1='{:.2f}' y1='{:.2f}' x2='{:.2f}' y2='{:.2f}' stroke='{}'/>\n", x0,
                       y0, x1, y1, kGrid);
  }
  template <class Action>
  static void for_ticks(const Range& range, double count, Action action) {
    const double distance = tick_distance(range, count);
    const double first = std::ceil(range.low / distance);
    for (double i = first; i * distance <= range.high; ++i)
      action(i == 0 ? 0.0 : i * distance);  // never -0
  }

  double top_, bottom_;
  Range steps_, values_;
};

Points losses_of(const LossCurve& curve, const char* colour, double width) {
  Points points = {.colour = colour, .width = width};
  for (const auto& [step, point] : curve) points.values.emplace_back(step, point.loss);
  return points;
}

Range values_of(std::initializer_list<const Points*> all) {
  Range range;
  for (const Points* points : all)
    for (const auto& [step, value] : points->values) range.add(value);
  return range.padded();
}

}  // namespace

std::string draw_curves_svg(const LossCurve& a, const LossCurve& b, const std::string& name_a,
                            const std::string& name_b) {
  // A wide line under a thin one: equal curves show both.
  const Points of_a = losses_of(a, kColourA, 5), of_b = losses_of(b, kColourB, 1.5);
  Points difference = {.colour = kInk, .width = 1.5};
  Range steps;
  for (const Points* points : {&of_a, &of_b})
    for (const auto& [step, value] : points->values) steps.add(static_cast<double>(step));
  for (const auto& [step, point] : a)
    if (const auto other = b.find(step); other != b.end())
      difference.values.emplace_back(step, other->second.loss - point.loss);
  steps = steps.padded();

  std::string out = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0} 560' width='{0}' height='560' "
      "font-family='sans-serif' font-size='13' fill='{1}'>\n"
      "<rect width='{0}' height='560' fill='white'/>\n",
      kWidth, kInk);
  out += fmt::format("<line x1='90' y1='20' x2='120' y2='20' stroke='{}' stroke-width='5'/>\n",
                     kColourA);
  Panel::text(out, 130, 24, "start", name_a);
  out += fmt::format("<line x1='90' y1='40' x2='120' y2='40' stroke='{}' stroke-width='1.5'/>\n",
                     kColourB);
  Panel::text(out, 130, 44, "start", name_b);
  const Panel losses(80, 360, steps, values_of({&of_a, &of_b}));
  losses.draw_axes(out, "loss");
  losses.draw(out, of_a);
  losses.draw(out, of_b);
  const Panel differences(420, 520, steps, values_of({&difference}));
  differences.draw_axes(out, "difference, second minus first");
  differences.draw(out, difference);
  return out + "</svg>\n";
}

std::string step_table(const LossCurve& a, const LossCurve& b) {
  std::string table = fmt::format("{:>8} {:>20} {:>20} {:>12}\n", "step", "A", "B", "B - A");
  for (const auto& [step, point] : a)
    if (const auto other = b.find(step); other != b.end())
      table += fmt::format("{:>8} {:>20} {:>20} {:>12.4g}\n", step, shortest_number(point.loss),
                           shortest_number(other->second.loss), other->second.loss - point.loss);
  return table;
}

}  // namespace coeus
