// Writes the files of one checkpoint into a folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "coeus/base/file_system.h"
#include "coeus/checkpoint/manifest.h"
#include "coeus/checkpoint/safetensors.h"
#include "coeus/checkpoint/training_state.h"

namespace coeus {

struct CheckpointContents {
  int64_t step = 0;
  /// Leaves the optimizer and the JSON states out.
  bool model_only = false;
  /// Plain floating-point tensors of the model are converted to it.
  std::optional<StoredType> export_type;
  /// A part larger than this is split over files; a single larger tensor gets a file of its own.
  uint64_t max_file_bytes = uint64_t{4} << 30;
};

/// A checkpoint laid out to the byte, to be written once. Holds on to the tensors and reads them
/// only when written.
class CheckpointWriter {
 public:
  /// Throws Error on what cannot be saved: a name twice, a type that safetensors lacks, a state
  /// that JSON cannot keep.
  CheckpointWriter(const TrainingState& state, const CheckpointContents& contents);

  /// The exact sum of the sizes of all files.
  uint64_t bytes() const { return bytes_; }
  /// Writes all files and the manifest into an existing, empty folder, and syncs each and the
  /// folder. Throws FileError; what was written by then stays.
  void write(FileSystem& file_system, const std::filesystem::path& folder);

 private:
  struct PlannedFile {
    std::string part;
    std::string name;
    SafetensorsLayout layout;
    std::vector<at::Tensor> tensors;  // as in layout
  };

  void plan_part(const std::string& part, const NamedTensors& tensors,
                 const CheckpointContents& contents);
  void plan_file(const std::string& part, const std::string& name, const NamedTensors& tensors,
                 const CheckpointContents& contents);
  void write_file(FileSystem& file_system, const std::filesystem::path& folder, PlannedFile& file);

  std::vector<PlannedFile> files_;
  Manifest manifest_;
  uint64_t bytes_ = 0;
};

}  // namespace coeus
