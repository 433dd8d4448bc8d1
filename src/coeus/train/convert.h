// Weights from Hugging Face's form into coeus's and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "coeus/checkpoint/stored_type.h"

namespace coeus {

struct ConvertOptions {
  std::filesystem::path in;   ///< a folder, or one .safetensors file
  std::filesystem::path out;  ///< a folder that does not exist yet
  bool to_hugging_face = false;
  std::string model;   ///< as model.name
  std::string flavor;  ///< as model.flavor
  int64_t num_mtp_layers = 0;
  /// Where config.json is, for the flavour "from_hf"; empty: in `in`.
  std::filesystem::path config_folder;
  /// Of the numbers written; without it they stay as they are (8-bit ones become float32).
  std::optional<StoredType> export_type;
  uint64_t max_file_bytes = uint64_t{5'000'000'000};
};

struct Converted {
  int64_t tensors = 0;
  uint64_t bytes = 0;
};

/// Reads `in`, a Hugging Face folder, or for to_hugging_face a checkpoint or safetensors with
/// native names, and writes the other form: safetensors files and an index, for Hugging Face with
/// config.json. Holds one tensor, of experts one expert's, in memory at a time. `out` appears whole
/// or not at all. Throws ConfigError for a model there is not or an `out` that exists, and
/// CheckpointError, naming all tensors at fault, for weights that are not that model's.
Converted convert_weights(const ConvertOptions& options);

}  // namespace coeus
