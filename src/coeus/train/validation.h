#pragma once

#include <memory>

#include "coeus/comm/parallel_groups.h"
#include "coeus/data/loader.h"
#include "coeus/train/metrics/metrics_processor.h"
#include "coeus/train/parallel_model.h"
#include "coeus/train/training_config.h"

namespace coeus {

/// Measures the loss on data of its own, now and then.
class Validator {
 public:
  /// Reads the first batch, so that data which cannot be used is found before training. Throws
  /// DataError for it, and when there is not one row.
  Validator(const ValidationConfig& config, std::unique_ptr<Loader> loader,
            const ParallelGroups& groups);

  /// Whether `step` (from 1) is one to validate after: the first, and every freq-th.
  bool should_validate(int64_t step) const { return step == 1 || step % config_.freq == 0; }

  /// Goes through validation.steps batches (all of them for -1), from the first, without gradients,
  /// and logs the loss: cross-entropy over all valid labels of all ranks, divided by their
  /// number.
  void validate(ParallelModel& model, int64_t step, MetricsProcessor& metrics);

 private:
  ValidationConfig config_;
  std::unique_ptr<Loader> loader_;
  ParallelGroups groups_;
};

}  // namespace coeus
