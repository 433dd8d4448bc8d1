#include "coeus/train/pipeline_summary.h"

#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/parallel/pipeline/draw_schedule.h"
#include "coeus/train/job_model.h"

namespace coeus {

PipelinePlan plan_job_pipeline(const JobConfig& config) {
  COEUS_CHECK_CONFIG(config.parallelism.pipeline_parallel_degree > 1,
                     "parallelism.pipeline_parallel_degree = {}: there is no pipeline; set it to "
                     "the number of ranks that it is to have",
                     config.parallelism.pipeline_parallel_degree);
  const std::shared_ptr<Model> model = build_job_model(config, at::kMeta);
  check_pipeline(*model, config.model.name + " " + config.model.flavor);
  return plan_pipeline(config.parallelism, model->pipeline_modules(),
                       config.training.local_batch_size);
}

std::string pipeline_summary(const PipelinePlan& plan) {
  std::string text = stages_text(plan) + "\n" + draw_schedule_text(plan.schedule) + "\n";
  for (int64_t rank = 0; rank < plan.schedule.rank_count(); ++rank)
    text += fmt::format("rank {:<3} at most {} forward passes wait for their backward passes\n",
                        rank, most_in_flight(plan.schedule, rank));
  return text +
         "Forward pass, input gradient and weight gradient are taken to last one unit of time "
         "each.\n";
}

}  // namespace coeus
