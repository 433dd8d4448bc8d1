// Every family's Hugging Face form, by the model's name.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "coeus/checkpoint/hugging_face_folder.h"

namespace coeus {

/// How Hugging Face names and describes a flavour. `name`, `flavor` and `folder` (the
/// hugging_face_folder) as in ModelOptions; throws ConfigError for those that there are not.
HuggingFaceFormat hugging_face_format(const std::string& name, const std::string& flavor,
                                      int64_t num_mtp_layers = 0,
                                      const std::filesystem::path& folder = {});

/// config.json of the folder, flat (see hugging_face_config.h). Throws ConfigError if there is none
/// that can be read.
nlohmann::json hugging_face_config_in(const std::filesystem::path& folder);

}  // namespace coeus
