#include "coeus/train/job_model.h"

#include <torch/torch.h>

#include "coeus/models/registry.h"
#include "coeus/train/precision.h"

namespace coeus {

std::shared_ptr<Model> build_job_model(const JobConfig& config, const at::Device& device) {
  ModelOptions options;
  options.name = config.model.name;
  options.flavor = config.model.flavor;
  options.seq_len = config.training.seq_len;
  if (config.validation.enable)
    options.seq_len = std::max(options.seq_len, config.validation.seq_len);
  if (!config.model.mask.empty()) options.mask = config.model.mask;
  options.masks = config.model.masks;
  options.engine = attention_engine_from_name(config.attention.engine);
  options.tensors =
      at::TensorOptions().device(device).dtype(dtype_from_name(config.training.dtype));
  return build_model(options);
}

}  // namespace coeus
