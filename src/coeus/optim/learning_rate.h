#pragma once

#include <cstdint>

#include "coeus/optim/optimizer_config.h"

namespace coeus {

/// TorchTitan's warmup-stable-decay: linear warmup, then constant, then linear, sqrt or cosine
/// decay to min_lr_factor. The last step of training stops one step short of the end of the decay.
class LearningRate {
 public:
  /// A warmup or decay longer than the run is cut to it, of which reading the configuration warns.
  LearningRate(double base, const LrSchedulerConfig& config, int64_t training_steps);

  /// The learning rate of step `step`, counted from 1.
  double at_step(int64_t step) const;

 private:
  double factor(int64_t current) const;

  double base_;
  LrSchedulerConfig config_;
  int64_t warmup_steps_;
  int64_t decay_steps_;
  int64_t stable_steps_;
};

}  // namespace coeus
