#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "coeus/checkpoint/hugging_face_folder.h"
#include "coeus/models/model_part.h"
#include "coeus/train/job_config.h"

namespace coeus {

/// The model that the configuration names, parameters allocated on `device` in training.dtype but
/// not initialised. It knows as many positions as its longest row in training and validation has,
/// or `positions`; that changes nothing else of it. Throws ConfigError for a name, flavour, mask or
/// engine that there is not.
std::shared_ptr<Model> build_job_model(const JobConfig& config, const at::Device& device,
                                       std::optional<int64_t> positions = {});

/// What this rank's part of that model is made of, on its place in the mesh.
PartOptions job_part_options(const JobConfig& config, const Mesh& mesh, const at::Device& device);

/// Where the flavour "from_hf" finds its config.json: checkpoint.initial_load_path, else
/// model.hf_assets_path.
std::filesystem::path hugging_face_folder(const JobConfig& config);

/// How Hugging Face names and describes the model that the configuration names. Throws ConfigError
/// for one that it has no form of.
HuggingFaceFormat job_hugging_face_format(const JobConfig& config);

}  // namespace coeus
