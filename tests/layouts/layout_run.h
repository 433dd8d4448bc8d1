// Runs of `coeus train` in a layout, through `coeus launch` where it has several ranks.
#pragma once

#include <filesystem>
#include <string>

#include "coeus/train/metrics/compare.h"
#include "coeus/train/metrics/loss_curve.h"
#include "layouts.h"
#include "run_command.h"

namespace coeus {

/// What "the same loss" means: 2e-5 of the loss, 2e-3 of the gradients' norm relative to it.
inline constexpr CompareLimits kSameLoss = {.loss_absolute = 2e-5, .grad_norm_relative = 2e-3};

/// The letters and digits of `text`, all else replaced: a name for a folder or test.
std::string as_name(std::string text);

/// Trains in float32 on test_device(), 10 steps of 8 rows of 128 tokens unless `flags` say
/// otherwise, into `folder`.
Outcome run_in_layout(const LayoutModel& model, const Layout& layout, const std::string& flags,
                      const std::filesystem::path& folder);

/// The same, and fails the test unless it ends well. Its metrics; none if it failed.
LossCurve train_in_layout(const LayoutModel& model, const Layout& layout, const std::string& flags,
                          const std::filesystem::path& folder);

/// Fails the test, with a table, unless the curves have the same steps and are within the limits.
Comparison expect_same(const LossCurve& a, const LossCurve& b,
                       const CompareLimits& limits = kSameLoss);

}  // namespace coeus
