// Two runs' losses, held against each other.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "coeus/train/metrics/loss_curve.h"

namespace coeus {

/// What must hold at every step that both runs logged. What is not set is reported, not demanded.
struct CompareLimits {
  /// Of the loss: |a - b| <= loss_absolute.
  std::optional<double> loss_absolute;
  /// Of grad_norm: |a - b| <= grad_norm_relative * max(|a|, |b|).
  std::optional<double> grad_norm_relative;
  /// Both numbers equal exactly.
  bool bitwise = false;
  /// Only steps in [first_step, last_step] count.
  int64_t first_step = std::numeric_limits<int64_t>::min();
  int64_t last_step = std::numeric_limits<int64_t>::max();
};

/// The largest difference of one quantity over the common steps, by the measure its limit uses. A
/// number that is not finite differs from everything, itself too, by infinity.
struct LargestDifference {
  double difference = 0;
  /// Where it is, and both numbers there.
  int64_t step = 0;
  double a = 0;
  double b = 0;
  /// Steps whose numbers are not equal exactly, and the first of them.
  int64_t n_unequal = 0;
  std::optional<int64_t> first_unequal;
  /// Whether the quantity keeps its limit; true where nothing is demanded.
  bool within = true;
};

/// The outcome of compare_curves.
struct Comparison {
  int64_t n_common = 0;
  int64_t first_common = 0;
  int64_t last_common = 0;
  std::vector<int64_t> only_in_a;
  std::vector<int64_t> only_in_b;
  /// Absolute differences of the loss, relative ones of grad_norm. grad_norm is missing where a
  /// common step lacks it in either run.
  LargestDifference loss;
  std::optional<LargestDifference> grad_norm;
  bool within() const { return loss.within && (!grad_norm || grad_norm->within); }
};

/// Compares the steps that both have. Throws Error if there are none, or if the limits ask for
/// grad_norm where it is missing; ConfigError if a limit is negative or not a number.
Comparison compare_curves(const LossCurve& a, const LossCurve& b, const CompareLimits& limits);

/// The table for people: how many steps were compared, which are missing where, and for loss and
/// grad_norm the largest difference, its step, both numbers, the limit and the verdict.
std::string comparison_table(const Comparison& comparison, const CompareLimits& limits);

/// "1-10, 20, 30-39".
std::string step_ranges(const std::vector<int64_t>& steps);

}  // namespace coeus
