#pragma once

#include <memory>

#include "coeus/models/model.h"
#include "coeus/train/job_config.h"

namespace coeus {

/// The model that the configuration names, parameters allocated on `device` in training.dtype but
/// not initialised. Throws ConfigError for a name, flavour, mask or engine that there is not.
std::shared_ptr<Model> build_job_model(const JobConfig& config, const at::Device& device);

}  // namespace coeus
