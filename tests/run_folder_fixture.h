#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "coeus/base/temporary_folder.h"
#include "coeus/train/metrics/loss_curve.h"
#include "coeus/train/trainer.h"

namespace coeus {

/// A test with a folder of its own, removed afterwards.
class RunTest : public testing::Test {
 protected:
  RunTest();

  /// Trains with the given flags into `folder` / name, and returns that folder. Logging every step.
  std::filesystem::path train(const std::string& name, std::vector<std::string> flags);

  /// Gives the run `to` the checkpoint that the run `from` made at `step`, to start from.
  void copy_checkpoint(const std::string& from, const std::string& to, int64_t step) const;

  /// Both curves have the same steps, with the same bits.
  static void expect_equal_bits(const LossCurve& a, const LossCurve& b);

  /// `resumed` has the steps of `whole` after `step`, with the same bits.
  static void expect_continues(const LossCurve& resumed, const LossCurve& whole, int64_t step);

  std::optional<Trainer::Reading> reading_;  ///< if not the device's

  const TemporaryFolder temporary_;
  const std::filesystem::path folder_ = temporary_.path();
};

}  // namespace coeus
