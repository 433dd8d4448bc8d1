#include "coeus/train/job_model.h"

#include <torch/types.h>

#include "coeus/models/hugging_face.h"
#include "coeus/models/registry.h"
#include "coeus/train/precision.h"

namespace coeus {

std::filesystem::path hugging_face_folder(const JobConfig& config) {
  return config.checkpoint.initial_load_path.value_or(config.model.hf_assets_path);
}

HuggingFaceFormat job_hugging_face_format(const JobConfig& config) {
  return hugging_face_format(config.model.name, config.model.flavor, config.model.num_mtp_layers,
                             hugging_face_folder(config));
}

std::shared_ptr<Model> build_job_model(const JobConfig& config, const at::Device& device,
                                       std::optional<int64_t> positions) {
  ModelOptions options;
  options.name = config.model.name;
  options.flavor = config.model.flavor;
  options.hugging_face_folder = hugging_face_folder(config);
  options.training_seq_len = config.training.seq_len;
  options.seq_len = config.training.seq_len;
  if (config.validation.enable)
    options.seq_len = std::max(options.seq_len, config.validation.seq_len);
  if (positions) options.seq_len = *positions;
  if (!config.model.mask.empty()) options.mask = config.model.mask;
  options.masks = config.model.masks;
  options.engine = attention_engine_from_name(config.attention.engine);
  options.moe = config.moe;
  options.num_mtp_layers = config.model.num_mtp_layers;
  options.force_load_balance = config.training.debug_moe_force_load_balance;
  options.tensors =
      at::TensorOptions().device(device).dtype(dtype_from_name(config.training.dtype));
  return build_model(options);
}

}  // namespace coeus
