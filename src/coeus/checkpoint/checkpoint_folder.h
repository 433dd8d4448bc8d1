// The folder of a run's checkpoints: what its entries are called, and how one is put into place so
// that whatever interrupts it, `step-N` is always whole or not there.
//
//   step-20          a checkpoint; appears by one rename, its files and entries synced before
//   .step-20.tmp     being written
//   .step-20.old     replaced by a new step-20 that was about to take its place
//   .step-20.trash   being removed
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "coeus/base/file_system.h"

namespace coeus {

class CheckpointFolder {
 public:
  CheckpointFolder(FileSystem& file_system, std::filesystem::path path)
      : file_system_(file_system), path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path step_path(int64_t step) const;
  /// The steps of all folders called step-N, rising; what they hold is not looked at. None if the
  /// folder is absent.
  std::vector<int64_t> steps() const;

  /// Finishes or undoes what an interrupted process left: puts a .old back where its successor
  /// never came, and removes the rest. A failure is logged and left for the next start. The caller
  /// holds the folder's lock, so nobody is writing.
  void clean_up();

  /// Publishing step-N: `begin` makes a temporary folder and returns its path; whoever fills it
  /// syncs each file and the folder; then `publish` renames it to step-N, in the place of a step-N
  /// that may be there, and returns when that is durable. Where anything fails on the way,
  /// `abandon` leaves no temporary folder, if it can be removed, and an older step-N still is. The
  /// first two throw FileError.
  std::filesystem::path begin(int64_t step);
  void publish(int64_t step);
  void abandon(int64_t step);
  /// The temporary folder of step-N.
  std::filesystem::path temporary_path(int64_t step) const;

  /// Removes step-N: at once by a rename, so that no half of it is seen, then file by file.
  void remove(int64_t step);

 private:
  std::filesystem::path hidden_path(int64_t step, const char* suffix) const;
  bool exists(const std::filesystem::path& path);
  /// Renames .step-N.old to step-N unless there is a step-N; whether it did.
  bool put_back(int64_t step);
  void remove_quietly(const std::filesystem::path& path);

  FileSystem& file_system_;
  std::filesystem::path path_;
};

/// Which of the steps (rising) to remove after `saved` was saved: of those up to it, all but the
/// latest `keep`. Later ones, of a run that was taken back to an earlier step, are not counted.
/// `keep` = 0 keeps all.
std::vector<int64_t> steps_to_remove(const std::vector<int64_t>& steps, int64_t saved,
                                     int64_t keep);

}  // namespace coeus
