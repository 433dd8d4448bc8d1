// A run's losses, read back from its files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>

namespace coeus {

/// One logged step. A number that the file gives as null or nan is NaN.
struct CurvePoint {
  double loss = 0;
  std::optional<double> grad_norm;
};

/// The logged steps of a run, by step.
using LossCurve = std::map<int64_t, CurvePoint>;

/// Reads a metrics.jsonl, or a CSV file whose header names `step`, `loss` and perhaps `grad_norm`
/// (more columns are ignored); which of the two it is shows in its first character. The later line
/// of a step that stands twice counts; lines with `validation_loss` and no `loss` are left out.
/// Throws DataError naming file and line if the file cannot be read, has a malformed line or no
/// step.
LossCurve read_loss_curve(const std::filesystem::path& path);

}  // namespace coeus
