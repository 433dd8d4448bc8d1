// Writes the files of one checkpoint into a folder: each rank its own, rank 0 the manifest of all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "coeus/base/file_system.h"
#include "coeus/checkpoint/checkpoint_ranks.h"
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
  uint64_t chunk_bytes = kChunkBytes;
};

/// What one rank writes of a checkpoint, laid out to the byte, to be written once. Holds on to the
/// tensors and reads them only when written.
class CheckpointWriter {
 public:
  /// Throws Error on what cannot be saved: a name twice, a type that safetensors lacks, a state
  /// that JSON cannot keep. Talks to no other rank.
  CheckpointWriter(const TrainingState& state, const CheckpointContents& contents,
                   const CheckpointRanks& ranks = single_rank());

  /// The exact sum of the sizes of this rank's files, its share of the manifest included.
  uint64_t bytes() const { return bytes_; }
  /// Writes this rank's files into an existing folder and syncs each. Throws FileError; what was
  /// written by then stays.
  void write_files(FileSystem& file_system, const std::filesystem::path& folder);
  /// What this rank wrote: all tensors that it holds, and the pieces of them that it wrote.
  const Manifest& manifest() const { return manifest_; }

  /// For a single process: all files and the manifest, and syncs the folder.
  void write(FileSystem& file_system, const std::filesystem::path& folder);

 private:
  struct Piece {
    std::string tensor;
    at::Tensor values;
    TensorSlice slice;
    StoredType type;
  };
  struct PlannedFile {
    std::string part;
    std::string name;
    SafetensorsLayout layout;
    std::vector<Piece> pieces;  // as in layout
  };

  void plan_part(const std::string& part, const NamedTensors& tensors, const HeldSlices& slices,
                 const std::optional<StoredType>& export_type);
  void plan_file(const std::string& part, const std::string& name, std::vector<Piece> pieces);
  void write_file(FileSystem& file_system, const std::filesystem::path& folder,
                  const PlannedFile& file);
  StoredTensor& listed(const std::string& part, const std::string& tensor);

  CheckpointContents contents_;
  int rank_;
  int ranks_;
  std::vector<PlannedFile> files_;
  Manifest manifest_;
  std::map<std::string, std::map<std::string, size_t>> places_;  ///< in the manifest's lists
  uint64_t bytes_ = 0;
};

/// The manifest of a whole checkpoint from those of the ranks' writers, in the order of the ranks;
/// the states are those of the first. Throws Error, naming the tensor, where the pieces leave a
/// hole or overlap, and where ranks differ on its shape or type.
Manifest merged(std::vector<Manifest> of_ranks);

/// Writes manifest.json and syncs it and the folder.
void write_manifest(FileSystem& file_system, const std::filesystem::path& folder,
                    const Manifest& manifest);

}  // namespace coeus
