// The manifest of a checkpoint: what the folder holds, to the byte.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "coeus/base/checksum.h"
#include "coeus/checkpoint/stored_type.h"

namespace coeus {

inline constexpr const char* kManifestName = "manifest.json";
inline constexpr int kManifestVersion = 1;

/// A tensor of the checkpoint: the file of the folder that holds it and the checksum of its bytes.
struct ManifestTensor {
  std::string name;
  std::string file;
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;
  Checksum checksum;
};

/// A file of the folder: its whole size, and the checksum of its first bytes up to where the
/// tensors begin. Together with the tensors' checksums that covers every byte.
struct ManifestFile {
  uint64_t bytes = 0;
  Checksum header;
};

struct Manifest {
  std::string coeus_version;
  int64_t step = 0;
  std::map<std::string, ManifestFile> files;
  /// By part: "model" and, unless the checkpoint holds the model only, "optimizer".
  std::map<std::string, std::vector<ManifestTensor>> tensors;
  /// "lr_scheduler", "dataloader", "train_state", ...; none if it holds the model only.
  std::map<std::string, nlohmann::json> states;

  bool is_model_only() const { return !tensors.count("optimizer"); }
};

/// The text of manifest.json. Its last member is the checksum of all the text before the checksum's
/// digits. Throws Error if a state does not come back from JSON as it was (a number that is not
/// finite, text that is not UTF-8).
std::string to_text(const Manifest& manifest);

/// Reads the text of `file`; throws CheckpointError unless the checksum agrees, byte for byte, and
/// all members are of their types and in range (file names are plain names within the folder).
Manifest parse_manifest(const std::string& text, const std::string& file);

}  // namespace coeus
