// Reads one checkpoint folder: first all of it is verified, then it goes into the run's tensors.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "coeus/base/file_system.h"
#include "coeus/checkpoint/manifest.h"
#include "coeus/checkpoint/tensor_match.h"
#include "coeus/checkpoint/training_state.h"

namespace coeus {

/// A checkpoint whose every byte was found to be as it was written.
struct VerifiedCheckpoint {
  std::filesystem::path folder;
  /// Its tensors' pieces with full paths.
  Manifest manifest;
};

/// Reads all files of the folder, every rank its share of the bytes, and compares them with the
/// manifest. Throws CheckpointError on all ranks, naming the file and, for a tensor, its byte
/// range, on whatever is damaged, missing, swapped or cut short; also if it is of another step than
/// `step`, where one is given. FileErrors come as CheckpointErrors.
VerifiedCheckpoint verify_checkpoint(FileSystem& file_system, const std::filesystem::path& folder,
                                     std::optional<int64_t> step = std::nullopt,
                                     CheckpointRanks& ranks = single_rank());

/// Which parts and states to take: all but those named in `exclude`, or the model alone.
struct LoadSelection {
  bool model_only = false;
  std::vector<std::string> exclude;
  MatchRules model_rules;

  bool takes(const std::string& key) const;
};

/// The parts and states that `into` has, the selection takes and the checkpoint lacks.
std::vector<std::string> lacking(const VerifiedCheckpoint& checkpoint, const TrainingState& into,
                                 const LoadSelection& selection);

/// Fills `into`: tensors in place, each rank with its slices, states replaced. Throws
/// CheckpointError on all ranks that names every tensor and state that does not fit, before
/// anything is changed.
void load_checkpoint(FileSystem& file_system, const VerifiedCheckpoint& checkpoint,
                     const LoadSelection& selection, TrainingState& into,
                     CheckpointRanks& ranks = single_rank());

}  // namespace coeus
