#include "judge.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace coeus::cuda {

namespace {

/// The root mean square that a gradient counts as having at least: those of queries that see one
/// key are nothing but rounding.
constexpr double kGradientFloor = 0.02;

/// What a single row may err more than all of them together.
constexpr double kRowAllowance = 10;

float as_host_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

}  // namespace

Bounds bounds_of(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return {1e-5, 1e-5, 1e-5, 0.1};
    case ElementType::kBFloat16:
      return {5e-3, 1e-3, 1.5e-2, kGradientFloor};
    case ElementType::kFloat16:
      return {1e-3, 1e-3, 3e-3, kGradientFloor};
  }
  return {};
}

void Judge::judge(const std::string& name, const std::vector<Judgement>& judgements,
                  const std::vector<Score>& scores) {
  std::map<std::string, bool> is_wrong;
  std::map<std::string, bool> repeats_differ;
  constexpr int kMostShown = 60;
  const auto complain = [&](const Judgement& j, const char* how, double value, double bound) {
    is_wrong[j.kernel] = true;
    if (++shown_ > kMostShown) return;
    std::printf("WRONG %s %s %s: %s %.3g (bound %.3g)\n", name.c_str(), j.kernel.c_str(), j.what,
                how, value, bound);
  };
  for (size_t i = 0; i < scores.size(); ++i) {
    const Judgement& j = judgements[i];
    const Score& score = scores[i];
    Summary& summary = summaries_[j.kernel];
    is_wrong.emplace(j.kernel, false);
    if (score.not_finite > 0) complain(j, "values not finite:", score.not_finite, 0);
    switch (j.kind) {
      case Judgement::kRelative: {
        const double least = j.floor * std::sqrt(static_cast<double>(j.count));
        const double error =
            std::sqrt(score.difference) / std::max(std::sqrt(score.reference), least);
        const double row = as_host_float(score.worst_row);
        if (!(error <= j.bound)) complain(j, "relative error", error, j.bound);
        if (!(row <= kRowAllowance * j.bound))
          complain(j, "relative error of a row", row, kRowAllowance * j.bound);
        summary.*j.worst = std::max(summary.*j.worst, error);
        summary.row = std::max(summary.row, row / j.bound);
        break;
      }
      case Judgement::kLargest: {
        const double error = as_host_float(score.largest);
        if (!(error <= j.bound)) complain(j, "largest error", error, j.bound);
        summary.*j.worst = std::max(summary.*j.worst, error);
        break;
      }
      case Judgement::kBitwise:
        if (j.is_fatal && score.differences > 0)
          complain(j, "words that differ in a second run:", score.differences, 0);
        if (!j.is_fatal) repeats_differ[j.kernel] |= score.differences > 0;
        break;
      case Judgement::kGaps:
        if (score.differences > 0) complain(j, "words written beside it:", score.differences, 0);
        break;
    }
  }
  for (const auto& [kernel, wrong] : is_wrong) {
    ++summaries_[kernel].cases;
    summaries_[kernel].wrong += wrong;
  }
  for (const auto& [kernel, differ] : repeats_differ) {
    ++summaries_[kernel].repeated;
    summaries_[kernel].backward_repeats_differ += differ;
  }
}

int Judge::print_summaries() const {
  int wrong = 0;
  std::printf(
      "\n| kernel | cases | wrong | out | lse | dq | dk | dv | worst row / bound | second backward "
      "differs |\n|---|---|---|---|---|---|---|---|---|---|\n");
  for (const auto& [kernel, s] : summaries_) {
    wrong += s.wrong;
    std::printf("| %s | %d | %d | %.2g | %.2g | %.2g | %.2g | %.2g | %.2g | %d of %d |\n",
                kernel.c_str(), s.cases, s.wrong, s.out, s.lse, s.grad_q, s.grad_k, s.grad_v, s.row,
                s.backward_repeats_differ, s.repeated);
  }
  return wrong;
}

}  // namespace coeus::cuda
