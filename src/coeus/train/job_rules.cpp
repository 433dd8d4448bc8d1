#include "coeus/train/job_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "coeus/base/config_text.h"
#include "coeus/base/error.h"
#include "coeus/data/dataset.h"
#include "coeus/mask/mask.h"
#include "coeus/train/job_config.h"
#include "coeus/train/unsupported_features.h"

namespace coeus {
namespace {

/// "FILE:12: training.seq_len": how every line about a key begins.
std::string place_of(const ConfigReport& report, std::string_view key) {
  return report.is_set(key) ? fmt::format("{}: {}", report.source_of(key).place, key)
                            : std::string(key);
}

void check_batch(const TrainingConfig& training, const ParallelismConfig& parallelism,
                 const ConfigReport& report, ConfigMistakes& mistakes) {
  if (training.global_batch_size < 0) return;
  const std::int64_t ranks = parallelism.data_parallel_replicate_degree *
                             std::max<std::int64_t>(1, parallelism.data_parallel_shard_degree);
  const std::int64_t pass = training.local_batch_size * ranks;
  if (training.global_batch_size % pass != 0)
    mistakes.push_back(
        fmt::format("{} = {}: must be a multiple of training.local_batch_size x data-parallel "
                    "ranks = {} x {} = "
                    "{}",
                    place_of(report, "training.global_batch_size"), training.global_batch_size,
                    training.local_batch_size, ranks, pass));
}

void check_data(const TrainingConfig& training, const ConfigReport& report,
                ConfigMistakes& mistakes) {
  if (training.mixture.empty()) return;
  for (const char* key : {"training.dataset", "training.dataset_path"})
    if (report.is_set(key))
      mistakes.push_back(fmt::format(
          "{}: would be ignored, for training.mixture names the data sets; set one of the two",
          place_of(report, key)));
}

/// A data set of images and the rows that its batches have.
struct ImageData {
  std::string key;
  std::string name;
  std::string batch_key;
  std::int64_t batch_size;
};

std::vector<ImageData> image_data_of(const JobConfig& config) {
  std::vector<ImageData> found;
  const auto add = [&](const std::string& key, const std::string& name, const std::string& section,
                       std::int64_t batch_size) {
    if (is_image_dataset(name))
      found.push_back({key, name, section + ".local_batch_size", batch_size});
  };
  const TrainingConfig& training = config.training;
  if (training.mixture.empty())
    add("training.dataset", training.dataset, "training", training.local_batch_size);
  for (const MixtureEntryConfig& entry : training.mixture)
    add("training.mixture", entry.dataset, "training", training.local_batch_size);
  if (config.validation.enable)
    add("validation.dataset", config.validation.dataset, "validation",
        config.validation.local_batch_size);
  return found;
}

void check_images(const JobConfig& config, const ConfigReport& report, ConfigMistakes& mistakes) {
  const std::vector<ImageData> found = image_data_of(config);
  for (const ImageData& data : found) {
    if (config.model.name != "vlm")
      mistakes.push_back(fmt::format(
          "{} = \"{}\": has images, which model.name = \"{}\" does not take; use \"vlm\"",
          place_of(report, data.key), data.name, config.model.name));
    if (config.data.max_images_per_batch < data.batch_size)
      mistakes.push_back(fmt::format(
          "{} = {}: leaves no image for some of the {} rows of a batch; raise it to a multiple of "
          "{}, or lower that",
          place_of(report, "data.max_images_per_batch"), config.data.max_images_per_batch,
          data.batch_size, data.batch_key));
  }
  if (!found.empty()) return;
  // A whole configuration that was printed sets every key: those at their defaults are let pass.
  const ImageDataConfig defaults;
  for (const auto& [key, value] :
       {std::pair("data.max_images_per_batch", &ImageDataConfig::max_images_per_batch),
        {"data.max_patches_per_image", &ImageDataConfig::max_patches_per_image},
        {"data.patch_size", &ImageDataConfig::patch_size},
        {"data.packing_buffer_size", &ImageDataConfig::packing_buffer_size}})
    if (config.data.*value != defaults.*value)
      mistakes.push_back(fmt::format(
          "{} = {}: would be ignored, for no data set of the run has images; use training.dataset "
          "= \"image_text\", or leave it out",
          place_of(report, key), config.data.*value));
}

void check_checkpoint(const CheckpointConfig& checkpoint, const ConfigReport& report,
                      ConfigMistakes& mistakes) {
  if (checkpoint.enable && checkpoint.keep_latest_k == 1)
    mistakes.push_back(
        fmt::format("{} = 1: keep at least 2, or 0 for all: when the only one is damaged, nothing "
                    "is left to go "
                    "on from",
                    place_of(report, "checkpoint.keep_latest_k")));
  if (checkpoint.enable) return;
  if (checkpoint.initial_load_path)
    mistakes.push_back(fmt::format("{}: needs checkpoint.enable = true",
                                   place_of(report, "checkpoint.initial_load_path")));
  if (checkpoint.create_seed_checkpoint)
    mistakes.push_back(fmt::format("{}: needs checkpoint.enable = true",
                                   place_of(report, "checkpoint.create_seed_checkpoint")));
}

void check_profiling(const ProfilingConfig& profiling, const ConfigReport& report,
                     ConfigMistakes& mistakes) {
  if (profiling.enable_profiling &&
      profiling.profiler_warmup + profiling.profiler_active > profiling.profile_freq)
    mistakes.push_back(fmt::format(
        "{} = {}: must be at least profiling.profiler_warmup + profiling.profiler_active = {} + {}",
        place_of(report, "profiling.profile_freq"), profiling.profile_freq,
        profiling.profiler_warmup, profiling.profiler_active));
}

void check_schedule(const LrSchedulerConfig& schedule, std::int64_t steps, ConfigReport& report) {
  if (schedule.warmup_steps > steps)
    report.warnings.push_back(fmt::format(
        "{} = {} is more than training.steps = {}: warming up over all {} steps",
        place_of(report, "lr_scheduler.warmup_steps"), schedule.warmup_steps, steps, steps));
  if (!schedule.decay_ratio) return;
  const std::int64_t warmup = std::min(schedule.warmup_steps, steps);
  const auto decay =
      static_cast<std::int64_t>(std::nearbyint(double(steps) * *schedule.decay_ratio));
  if (warmup + decay > steps)
    report.warnings.push_back(fmt::format(
        "{} = {} asks for {} steps of decay after {} of warmup, but training.steps = {}: "
        "decaying over {}",
        place_of(report, "lr_scheduler.decay_ratio"), *schedule.decay_ratio, decay, warmup, steps,
        steps - warmup));
}

void check_mask(const std::string& key, const std::string& text, const ConfigReport& report,
                ConfigMistakes& mistakes) {
  try {
    parse_mask(text);
  } catch (const Error& error) {
    mistakes.push_back(
        fmt::format("{} = {}: {}", place_of(report, key), quote_toml(text), error.what()));
  }
}

void check_masks(const ModelConfig& model, const ConfigReport& report, ConfigMistakes& mistakes) {
  if (!model.mask.empty()) check_mask("model.mask", model.mask, report, mistakes);
  for (const auto& [name, text] : model.masks) check_mask("model.masks", text, report, mistakes);
  if (!model.mask.empty() && !model.masks.empty())
    mistakes.push_back(fmt::format("{}: model.masks is set too; set one of the two",
                                   place_of(report, "model.mask")));
}

void tell_what_is_not_needed(const JobConfig& config, ConfigReport& report) {
  if (config.compile.enable)
    report.warnings.push_back(fmt::format("{}: nothing needs compiling; this has no effect",
                                          place_of(report, "compile.enable")));
  if (config.parallelism.enable_compiled_autograd)
    report.warnings.push_back(
        fmt::format("{}: nothing needs compiling; this has no effect",
                    place_of(report, "parallelism.enable_compiled_autograd")));
}

void check_context(const ParallelismConfig& parallelism, const ConfigReport& report,
                   ConfigMistakes& mistakes) {
  const std::string& balancer = parallelism.context_parallel_load_balancer;
  if (parallelism.context_parallel_slack > 0 && balancer != "joint")
    mistakes.push_back(fmt::format(
        "{} = {}: would be ignored, for the balancer \"{}\" deals equal shares; use \"joint\"",
        place_of(report, "parallelism.context_parallel_slack"), parallelism.context_parallel_slack,
        balancer));
}

void check_loss(const JobConfig& config, const ConfigReport& report, ConfigMistakes& mistakes) {
  if (config.training.loss_chunk_size > 0 && config.parallelism.tensor_parallel_degree > 1 &&
      config.parallelism.disable_loss_parallel)
    mistakes.push_back(
        fmt::format("{} = {}: makes the loss without ever holding all logits, and "
                    "parallelism.disable_loss_parallel gathers them; set one of the two",
                    place_of(report, "training.loss_chunk_size"), config.training.loss_chunk_size));
}

/// TorchTitan's key counts where coeus's own is not set.
void follow_rotate_method(JobConfig& config, ConfigReport& report, ConfigMistakes& mistakes) {
  constexpr const char* kRotate = "parallelism.context_parallel_rotate_method";
  constexpr const char* kMethod = "parallelism.context_parallel_method";
  if (!report.is_set(kRotate)) return;
  std::string& method = config.parallelism.context_parallel_method;
  const bool is_ring = config.parallelism.context_parallel_rotate_method == "alltoall";
  if (!report.is_set(kMethod)) {
    method = is_ring ? "ring" : "allgather";
    report.sources[kMethod] = report.source_of(kRotate);
  } else if (is_ring && method != "ring") {
    // A printed configuration sets both; the default of the older key then says nothing.
    mistakes.push_back(fmt::format(
        "{} = \"alltoall\": is TorchTitan's word for a ring, and {} is \"{}\"; set one of the two",
        place_of(report, kRotate), kMethod, method));
  }
}

}  // namespace

void replace_deprecated_keys(JobConfig& config, ConfigReport& report, ConfigMistakes& mistakes) {
  follow_rotate_method(config, report, mistakes);
  const std::optional<std::string>& older = config.model.tokenizer_path;
  if (!older) return;
  if (report.is_set("model.hf_assets_path") && config.model.hf_assets_path != *older) {
    mistakes.push_back(
        fmt::format("{}: is the older name of model.hf_assets_path, which is set to "
                    "something else; set one of the two",
                    place_of(report, "model.tokenizer_path")));
    return;
  }
  report.warnings.push_back(fmt::format("{}: is deprecated; use model.hf_assets_path",
                                        place_of(report, "model.tokenizer_path")));
  config.model.hf_assets_path = *older;
  report.sources["model.hf_assets_path"] = report.source_of("model.tokenizer_path");
}

void refuse_unsupported_features(JobConfig& config, const ConfigReport& report,
                                 ConfigMistakes& mistakes) {
  ConfigSchema schema;
  describe(config, schema);
  for (const UnsupportedFeature& feature : unsupported_features())
    if (feature.is_asked_for(config))
      mistakes.push_back(
          fmt::format("{} = {}: not supported yet: {}; {}", place_of(report, feature.key),
                      field_to_toml(*schema.find(feature.key)), feature.feature, feature.advice));
}

void check_together(const JobConfig& config, ConfigReport& report, ConfigMistakes& mistakes) {
  if (report.source_of("job.config_file").kind == ConfigSource::Kind::kFile)
    mistakes.push_back(fmt::format("{}: a file cannot name another; use the flag",
                                   place_of(report, "job.config_file")));
  check_masks(config.model, report, mistakes);
  check_context(config.parallelism, report, mistakes);
  check_batch(config.training, config.parallelism, report, mistakes);
  check_data(config.training, report, mistakes);
  check_loss(config, report, mistakes);
  check_images(config, report, mistakes);
  check_checkpoint(config.checkpoint, report, mistakes);
  check_profiling(config.profiling, report, mistakes);
  check_schedule(config.lr_scheduler, config.training.steps, report);
  tell_what_is_not_needed(config, report);
}

}  // namespace coeus
