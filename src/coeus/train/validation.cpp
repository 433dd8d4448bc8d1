#include "coeus/train/validation.h"

#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/train/sum_over_ranks.h"

namespace coeus {

Validator::Validator(const ValidationConfig& config, std::unique_ptr<Loader> loader,
                     const ParallelGroups& groups)
    : config_(config), loader_(std::move(loader)), groups_(groups) {
  COEUS_CHECK_DATA(loader_->next().has_value(),
                   "validation.dataset {} has not enough text for one row of {} tokens; lower "
                   "validation.seq_len or give more text",
                   config_.dataset, config_.seq_len);
}

void Validator::validate(ParallelModel& model, int64_t step, MetricsProcessor& metrics) {
  metrics.begin_validation();
  loader_->restart();
  at::Tensor sum;
  int64_t valid_labels = 0;
  for (int64_t i = 0; config_.steps == -1 || i < config_.steps; ++i) {
    const std::optional<Batch> batch = loader_->next();
    if (!batch) break;
    metrics.add_batch(batch->batch_size * batch->row_length * groups_.mesh.data_ranks(),
                      loader_->last_wait_seconds());
    const at::Tensor loss = model.evaluate(*batch);
    sum = sum.defined() ? sum + loss : loss;
    valid_labels += batch->valid_labels;
  }
  COEUS_ASSERT(sum.defined());
  for (const ParallelGroups::Group& group : {groups_.loss, groups_.pipeline})
    sum = group->all_reduce(sum, "validation loss");
  valid_labels = sum_over(*groups_.data, valid_labels, "validation labels");
  COEUS_ASSERT(valid_labels > 0);
  // Here alone the device is waited for.
  metrics.log_validation(step, sum.item<double>() / static_cast<double>(valid_labels));
}

}  // namespace coeus
