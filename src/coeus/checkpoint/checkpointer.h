// When a run saves, what it starts from, and which of its checkpoints it keeps: TorchTitan's rules
// for the [checkpoint] section.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coeus/base/file_system.h"
#include "coeus/checkpoint/checkpoint_config.h"
#include "coeus/checkpoint/checkpoint_folder.h"
#include "coeus/checkpoint/checkpoint_ranks.h"
#include "coeus/checkpoint/checkpoint_reader.h"
#include "coeus/checkpoint/checkpoint_saver.h"
#include "coeus/checkpoint/hugging_face_folder.h"
#include "coeus/checkpoint/pending_save.h"
#include "coeus/checkpoint/training_state.h"

namespace coeus {

/// What a run started from.
struct LoadedCheckpoint {
  std::filesystem::path path;
  /// The step that was saved; 0 for weights alone.
  int64_t step = 0;
  /// Whether the optimizer and the states were left as they were.
  bool model_only = false;
};

class Checkpointer {
 public:
  /// The run's checkpoints lie in `dump_folder`/config.folder. If the run is to save, the folder is
  /// made, tried for writing, locked for this process, and cleared of what an interrupted run left.
  /// Throws ConfigError if the folder cannot be written or another process has it, or for a setting
  /// that is not supported. Does nothing unless config.enable. `file_system` and `ranks` outlive
  /// this; all functions but should_save are called by all ranks, and what fails on one fails on
  /// all.
  Checkpointer(CheckpointConfig config, const std::filesystem::path& dump_folder,
               FileSystem& file_system = posix_file_system(),
               CheckpointRanks& ranks = single_rank());

  /// How Hugging Face names and describes the model, for initial_load_in_hf and last_save_in_hf.
  /// `assets` is where initial_load_in_hf looks when there is no initial_load_path.
  void use_hugging_face(HuggingFaceFormat format, std::filesystem::path assets);

  /// Whether to save after `step`: every config.interval steps, after the last one, and after the
  /// first if so configured; never with load_only.
  bool should_save(int64_t step, bool last_step) const;

  /// Saves, whatever should_save says (a run about to be ended saves too). A last step is saved as
  /// last_save_model_only and export_dtype say. On return the checkpoint is durable, and
  /// checkpoints beyond keep_latest_k are gone, but only if the new one read back right. Throws
  /// CheckpointSaveError when the disk refuses, and Error for a state that cannot be saved at all.
  ///
  /// With async_mode it returns once the tensors are copied, and a thread does the rest, unless it
  /// is the last step's. It first waits for the save before it; if that one failed, it says so in
  /// the log, as the run does for a save that throws, and goes on.
  void save(int64_t step, const TrainingState& state, bool last_step = false);

  /// Returns once nothing is being written; call it before a run ends. Throws what the last save
  /// would have thrown, had it not been asynchronous.
  void wait();

  /// Brings the run to where it goes on: from load_step or, for -1, the newest usable checkpoint of
  /// its own folder; if that holds none, from initial_load_path; nothing if there is neither, or
  /// checkpointing is off. Tensors are filled in place and the states replaced, all of them
  /// verified first. A damaged checkpoint is named in a warning and the one before it used, unless
  /// load_step wants it. Throws CheckpointError (exit code 13) if there are checkpoints and none
  /// can be used, or if one does not fit the run.
  std::optional<LoadedCheckpoint> load(TrainingState& into);

  /// The model alone, for a program that does not train: from the same places, in whatever plain
  /// floating-point type it was saved (`last_save_model_only`, `export_dtype`). An expert_bias that
  /// is not there becomes zero. Throws as load does.
  std::optional<LoadedCheckpoint> load_model(const NamedTensors& model,
                                             const HeldSlices& slices = {});

 private:
  void take_folder();
  bool holds_hugging_face(int64_t step);
  LoadedCheckpoint load_hugging_face(const std::filesystem::path& path, const TrainingState& into,
                                     bool quantized);
  const HuggingFaceFormat& hugging_face() const;
  CheckpointContents contents_of(int64_t step, bool last_step) const;
  std::vector<int64_t> steps_of_first() const;
  bool is_async() const;
  std::optional<LoadedCheckpoint> load(TrainingState& into, const LoadSelection& selection);
  LoadedCheckpoint load_initial(TrainingState& into, const LoadSelection& selection);
  LoadedCheckpoint load_own(const std::vector<int64_t>& steps, TrainingState& into,
                            LoadSelection selection);
  VerifiedCheckpoint open_step(int64_t step, const TrainingState& into,
                               const LoadSelection& selection);
  VerifiedCheckpoint open_wanted_step(const std::vector<int64_t>& steps, const TrainingState& into,
                                      const LoadSelection& selection);
  VerifiedCheckpoint open_newest_usable(const std::vector<int64_t>& steps,
                                        const TrainingState& into, const LoadSelection& selection);
  void check_excluded(const TrainingState& into) const;

  CheckpointConfig config_;
  FileSystem& file_system_;
  CheckpointRanks& ranks_;
  CheckpointFolder folder_;
  std::unique_ptr<FolderLock> lock_;
  std::optional<HuggingFaceFormat> hugging_face_;
  std::filesystem::path assets_;
  /// The last member: it is waited for before the lock is let go.
  PendingSave pending_;
};

}  // namespace coeus
