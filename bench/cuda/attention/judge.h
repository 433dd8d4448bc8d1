// How far results may be from their references, and what came of all cases.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coeus/kernels/cuda/element_type.h"

namespace coeus::cuda {

/// How far a result is from its reference.
struct Score {
  double difference;     ///< sum of squares
  double reference;      ///< sum of squares
  unsigned worst_row;    ///< a float's bits: the worst error of a row
  unsigned largest;      ///< a float's bits: the largest difference
  unsigned not_finite;   ///< values that are not finite, where the reference's are
  unsigned differences;  ///< words that differ, or that nobody should have written
};

/// The largest errors that are right.
struct Bounds {
  double out;
  double lse;
  double gradient;
  double gradient_floor;
};

/// Those of results in a type.
Bounds bounds_of(ElementType type);

/// The largest errors of one kernel in one type and dims.
struct Summary {
  int cases = 0;
  int wrong = 0;
  double out = 0, lse = 0, grad_q = 0, grad_k = 0, grad_v = 0, row = 0;
  int repeated = 0;
  int backward_repeats_differ = 0;
};
using Worst = double Summary::*;

/// One number of a case: which kernel's, and how it is judged.
struct Judgement {
  enum Kind { kRelative, kLargest, kBitwise, kGaps } kind;
  std::string kernel;
  const char* what;
  double bound = 0;
  double floor = 0;
  int64_t count = 0;
  Worst worst = nullptr;
  bool is_fatal = true;
};

/// Holds scores to their bounds.
class Judge {
 public:
  /// Prints those scores of a case that are too large and adds all to the summaries; there is one
  /// for each judgement.
  void judge(const std::string& name, const std::vector<Judgement>& judgements,
             const std::vector<Score>& scores);
  /// Prints a line for each kernel. How many cases were wrong.
  int print_summaries() const;

 private:
  std::map<std::string, Summary> summaries_;
  int shown_ = 0;
};

}  // namespace coeus::cuda
