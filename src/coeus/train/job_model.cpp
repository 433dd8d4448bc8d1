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

namespace {

ModelOptions job_model_options(const JobConfig& config, const at::Device& device,
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
  return options;
}

}  // namespace

std::shared_ptr<Model> build_job_model(const JobConfig& config, const at::Device& device,
                                       std::optional<int64_t> positions) {
  return build_model(job_model_options(config, device, positions));
}

PartOptions job_part_options(const JobConfig& config, const Mesh& mesh, const at::Device& device) {
  const ParallelismConfig& parallelism = config.parallelism;
  PartOptions options;
  options.model = job_model_options(config, at::kCPU, {});
  options.loss_chunk_size = config.training.loss_chunk_size;
  options.activation_checkpoint = config.activation_checkpoint;
  options.tensor.loss_parallel = !parallelism.disable_loss_parallel;
  // In a pipeline the backward passes of all micro-batches would gather anew.
  options.fsdp.reshard_after_forward =
      parallelism.fsdp_reshard_after_forward == "always" ||
      (parallelism.fsdp_reshard_after_forward == "default" && mesh.degrees().pp == 1);
  options.fsdp.device = device;
  options.fsdp.in_pipeline = mesh.degrees().pp > 1;
  options.fsdp.precision.param_dtype =
      dtype_from_name(config.training.dtype == "float32" ? config.training.mixed_precision_param
                                                         : config.training.dtype);
  options.fsdp.precision.reduce_dtype = dtype_from_name(config.training.mixed_precision_reduce);
  return options;
}

}  // namespace coeus
