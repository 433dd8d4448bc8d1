// A model's weights, for programs that do not train it.
#pragma once

#include <filesystem>

#include "coeus/models/model.h"
#include "coeus/train/job_config.h"

namespace coeus {

/// Fills the model that the configuration names with the weights at `path`: a checkpoint of coeus,
/// a folder of safetensors files or one of them, with native names or Hugging Face's. Throws
/// CheckpointError when they are not this model's.
void load_weights(Model& model, const JobConfig& config, const std::filesystem::path& path);

}  // namespace coeus
