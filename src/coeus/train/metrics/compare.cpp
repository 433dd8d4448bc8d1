#include "coeus/train/metrics/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "coeus/base/error.h"
#include "coeus/base/shortest_number.h"

namespace coeus {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double absolute_difference(double a, double b) { return std::abs(a - b); }

double relative_difference(double a, double b) {
  if (a == b && std::isfinite(a)) return 0;
  return absolute_difference(a, b) / std::max(std::abs(a), std::abs(b));
}

void check_limit(const std::optional<double>& limit, const char* flag) {
  COEUS_CHECK_CONFIG(!limit || *limit >= 0, "[compare] {} must be 0 or more, got {}", flag, *limit);
}

/// Gathers one quantity over the steps.
class Gathering {
 public:
  Gathering(double (*measure)(double, double), std::optional<double> limit, bool bitwise)
      : measure_(measure), limit_(bitwise ? 0.0 : limit) {}

  void add(int64_t step, double a, double b) {
    double difference = measure_(a, b);
    if (std::isnan(difference)) difference = kInfinity;  // NaN, or infinity minus itself
    if (!started_ || difference > largest_.difference) {
      largest_.difference = difference;
      largest_.step = step;
      largest_.a = a;
      largest_.b = b;
      started_ = true;
    }
    if (difference != 0) {
      ++largest_.n_unequal;
      if (!largest_.first_unequal) largest_.first_unequal = step;
    }
  }

  LargestDifference result() const {
    LargestDifference result = largest_;
    result.within = !limit_ || result.difference <= *limit_;
    return result;
  }

 private:
  double (*measure_)(double, double);
  std::optional<double> limit_;
  LargestDifference largest_;
  bool started_ = false;
};

std::string table_line(const char* name, const char* measure, const LargestDifference& largest,
                       const std::optional<double>& limit, bool bitwise) {
  const bool demanded = bitwise || limit;
  return fmt::format(
      "{:<10} {:<9} {:>11.4g} {:>9} {:>20} {:>20} {:>9}  {:<7}  {}\n", name, measure,
      largest.difference, largest.step, shortest_number(largest.a), shortest_number(largest.b),
      bitwise ? "equal"
      : limit ? fmt::format("{:.4g}", *limit)
              : "none",
      !demanded        ? "-"
      : largest.within ? "within"
                       : "OUTSIDE",
      largest.n_unequal == 0
          ? "equal at every step"
          : fmt::format("{} unequal, first at step {}", largest.n_unequal, *largest.first_unequal));
}

}  // namespace

std::string step_ranges(const std::vector<int64_t>& steps) {
  std::string text;
  for (size_t i = 0; i < steps.size();) {
    size_t last = i;
    while (last + 1 < steps.size() && steps[last + 1] == steps[last] + 1) ++last;
    if (!text.empty()) text += ", ";
    text += last == i ? fmt::format("{}", steps[i]) : fmt::format("{}-{}", steps[i], steps[last]);
    i = last + 1;
  }
  return text;
}

Comparison compare_curves(const LossCurve& a, const LossCurve& b, const CompareLimits& limits) {
  check_limit(limits.loss_absolute, "--atol");
  check_limit(limits.grad_norm_relative, "--rtol");
  auto counts = [&](int64_t step) { return step >= limits.first_step && step <= limits.last_step; };
  Comparison comparison;
  Gathering loss(absolute_difference, limits.loss_absolute, limits.bitwise);
  Gathering grad_norm(relative_difference, limits.grad_norm_relative, limits.bitwise);
  bool grad_norm_everywhere = true;
  for (const auto& [step, point] : a) {
    if (!counts(step)) continue;
    auto other = b.find(step);
    if (other == b.end()) {
      comparison.only_in_a.push_back(step);
      continue;
    }
    if (comparison.n_common++ == 0) comparison.first_common = step;
    comparison.last_common = step;
    loss.add(step, point.loss, other->second.loss);
    if (point.grad_norm && other->second.grad_norm)
      grad_norm.add(step, *point.grad_norm, *other->second.grad_norm);
    else
      grad_norm_everywhere = false;
  }
  for (const auto& [step, point] : b)
    if (counts(step) && !a.contains(step)) comparison.only_in_b.push_back(step);
  COEUS_CHECK(comparison.n_common > 0, "[compare] no step stands in both files: A has {}, B has {}",
              comparison.only_in_a.empty() ? "none" : step_ranges(comparison.only_in_a),
              comparison.only_in_b.empty() ? "none" : step_ranges(comparison.only_in_b));
  COEUS_CHECK(grad_norm_everywhere || !limits.grad_norm_relative,
              "[compare] --rtol needs grad_norm at every step of both files, and one lacks it");
  comparison.loss = loss.result();
  if (grad_norm_everywhere) comparison.grad_norm = grad_norm.result();
  return comparison;
}

std::string comparison_table(const Comparison& comparison, const CompareLimits& limits) {
  std::string table = fmt::format("compared {} step{}, {} to {}\n", comparison.n_common,
                                  comparison.n_common == 1 ? "" : "s", comparison.first_common,
                                  comparison.last_common);
  auto say_missing = [&](const std::vector<int64_t>& steps, const char* where) {
    if (!steps.empty())
      table += fmt::format("not compared, only in {}: {} step{} ({})\n", where, steps.size(),
                           steps.size() == 1 ? "" : "s", step_ranges(steps));
  };
  say_missing(comparison.only_in_a, "A");
  say_missing(comparison.only_in_b, "B");
  table += fmt::format("{:<10} {:<9} {:>11} {:>9} {:>20} {:>20} {:>9}  {:<7}  {}\n", "", "measure",
                       "largest", "at step", "A", "B", "limit", "verdict", "exactly");
  table += table_line("loss", "absolute", comparison.loss, limits.loss_absolute, limits.bitwise);
  if (comparison.grad_norm)
    table += table_line("grad_norm", "relative", *comparison.grad_norm, limits.grad_norm_relative,
                        limits.bitwise);
  else
    table += "grad_norm  not compared: a step lacks it\n";
  return table;
}

}  // namespace coeus
