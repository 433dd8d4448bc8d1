// Brings a checkpoint to the disk: all ranks write, rank 0 puts what they wrote into place.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "coeus/base/file_system.h"
#include "coeus/checkpoint/checkpoint_folder.h"
#include "coeus/checkpoint/checkpoint_ranks.h"
#include "coeus/checkpoint/checkpoint_writer.h"
#include "coeus/checkpoint/hugging_face_folder.h"
#include "coeus/checkpoint/training_state.h"

namespace coeus {

/// A save that failed: the disk is full, broken or gone. The checkpoints saved before are
/// untouched, so a run may log it and go on; only a failed last save must end it with an error.
class CheckpointSaveError : public Error {
 public:
  explicit CheckpointSaveError(const std::string& message) : Error(message) {}
};

/// All ranks call the same functions. One that fails on any rank fails on all, with
/// CheckpointSaveError where the disk refused and Error for a state that cannot be saved at all;
/// then no temporary folder is left, if it can be removed.
class CheckpointSaver {
 public:
  /// `file_system` and `ranks` outlive this.
  CheckpointSaver(FileSystem& file_system, CheckpointFolder folder, CheckpointRanks& ranks)
      : file_system_(file_system), folder_(std::move(folder)), ranks_(ranks) {}

  /// Writes what the ranks' writers, made alike, laid out; returns when step-N is durable.
  void save(CheckpointWriter& writer);

  /// The model alone as a folder of Hugging Face's. Of several ranks each writes its slices, and
  /// rank 0 joins them to whole tensors one by one: that takes twice the space for a while, and no
  /// rank's memory holds more than a tensor (or one expert of it).
  void save_hugging_face(const TrainingState& state, const CheckpointContents& contents,
                         const HuggingFaceFormat& format);

  /// Removes checkpoints beyond the latest `keep` up to the step saved, but only if that one reads
  /// back right. Logs what stands in the way.
  void remove_old(int64_t saved, int64_t keep);

 private:
  uint64_t bytes_of_all(uint64_t own);
  /// Gathers what the ranks wrote; the whole of it on rank 0.
  Manifest manifest_of_all(const CheckpointWriter& writer);
  void publish(int64_t step, uint64_t needed,
               const std::function<void(const std::filesystem::path&)>& write_together);
  [[noreturn]] void fail(int64_t step, uint64_t needed, const std::string& cause);
  std::vector<int64_t> removable(int64_t saved, int64_t keep);

  FileSystem& file_system_;
  CheckpointFolder folder_;
  CheckpointRanks& ranks_;
};

}  // namespace coeus
