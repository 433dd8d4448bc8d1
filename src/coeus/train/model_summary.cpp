#include "coeus/train/model_summary.h"

#include <torch/types.h>

#include "coeus/train/job_model.h"
#include "coeus/train/memory_estimate.h"
#include "coeus/train/metrics/log_line.h"

namespace coeus {

std::string model_summary(const JobConfig& config) {
  const std::shared_ptr<Model> model = build_job_model(config, at::kMeta);
  const auto blocks = static_cast<int64_t>(model->blocks().size());
  const int64_t seq_len = config.training.seq_len;
  std::string text = fmt::format("{} {}\n", config.model.name, config.model.flavor);
  text += fmt::format("  parameters            {}\n",
                      with_thousands(static_cast<double>(parameter_count(*model))));
  text += fmt::format("  layers                {}\n", blocks);
  text += fmt::format("  vocabulary            {}\n", model->vocab_size());
  text += fmt::format("  FLOPs a token         {} (forward and backward, seq_len {})\n",
                      with_thousands(model->flops_per_token(seq_len)), seq_len);
  text +=
      memory_table(estimate_memory(*model, blocks, config),
                   fmt::format("estimated memory of one device, batch {} x {}, parameters in {}",
                               config.training.local_batch_size, seq_len, config.training.dtype));
  return text + "\n";
}

}  // namespace coeus
