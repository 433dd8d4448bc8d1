#include "coeus/optim/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "coeus/base/error.h"

namespace coeus {

LearningRate::LearningRate(double base, const LrSchedulerConfig& config, int64_t training_steps)
    : base_(base), config_(config), warmup_steps_(config.warmup_steps) {
  warmup_steps_ = std::min(warmup_steps_, training_steps);
  decay_steps_ = training_steps - warmup_steps_;
  if (config.decay_ratio) {
    // To the nearest whole step, halves to the even one, as Python rounds.
    const auto wanted = static_cast<int64_t>(
        std::nearbyint(static_cast<double>(training_steps) * *config.decay_ratio));
    decay_steps_ = std::min(decay_steps_, wanted);
  }
  // One step more than there is, so that the last one does not train at a rate of zero.
  stable_steps_ = training_steps + 1 - warmup_steps_ - decay_steps_;
}

double LearningRate::at_step(int64_t step) const {
  COEUS_ASSERT(step >= 1);
  return base_ * factor(step - 1);
}

double LearningRate::factor(int64_t current) const {
  if (current < warmup_steps_)
    return static_cast<double>(current + 1) / static_cast<double>(warmup_steps_);
  const int64_t decay_start = warmup_steps_ + stable_steps_;
  if (current < decay_start) return 1.0;
  const double progress =
      static_cast<double>(current + 1 - decay_start) / static_cast<double>(decay_steps_);
  double kept = 1 - progress;
  if (config_.decay_type == "sqrt") kept = 1 - std::sqrt(progress);
  if (config_.decay_type == "cosine") kept = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return config_.min_lr_factor + (1 - config_.min_lr_factor) * kept;
}

}  // namespace coeus
