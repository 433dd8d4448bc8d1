// The manifest of a checkpoint: what the folder holds, to the byte.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "coeus/base/checksum.h"
#include "coeus/checkpoint/stored_piece.h"

namespace coeus {

inline constexpr const char* kManifestName = "manifest.json";
inline constexpr int kManifestVersion = 2;
/// Bytes that one checksum covers: what is read in part is compared in steps of this size.
inline constexpr uint64_t kChunkBytes = uint64_t{4} << 20;

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
  /// By part: "model" and, unless the checkpoint holds the model only, "optimizer". The pieces'
  /// files are plain names of `files`.
  std::map<std::string, std::vector<StoredTensor>> tensors;
  /// Of every piece.
  uint64_t chunk_bytes = kChunkBytes;
  /// "lr_scheduler", "dataloader", "train_state", ...; none if it holds the model only.
  std::map<std::string, nlohmann::json> states;

  bool is_model_only() const { return !tensors.count("optimizer"); }
};

/// The text of manifest.json. Its last member is the checksum of all the text before the checksum's
/// digits. Throws Error if a state does not come back from JSON as it was (a number that is not
/// finite, text that is not UTF-8).
std::string to_text(const Manifest& manifest);

/// Reads the text of `file`; throws CheckpointError unless the checksum agrees, byte for byte, and
/// all members are of their types and in range (file names are plain names within the folder, boxes
/// lie within their tensors). A manifest of format version 1, where every tensor is whole and has
/// one checksum, gives pieces that begin and end at byte 0: their files' headers say where.
Manifest parse_manifest(const std::string& text, const std::string& file);

/// Throws Error, naming the tensor and its pieces, unless the pieces of each cover it exactly once.
void check_covered(const Manifest& manifest);

}  // namespace coeus
