#include "coeus/checkpoint/checkpoint_saver.h"

#include "coeus/base/log.h"
#include "coeus/checkpoint/checkpoint_reader.h"
#include "coeus/checkpoint/stopwatch.h"
#include "coeus/checkpoint/stored_tensors.h"

namespace coeus {

namespace fs = std::filesystem;

namespace {

/// What the disk refused on one of several ranks.
class RefusedByDisk : public Error {
 public:
  using Error::Error;
};

std::string size_text(uint64_t bytes) {
  return fmt::format("{} bytes ({:.2f} GiB)", bytes, static_cast<double>(bytes) / (1 << 30));
}

/// Whole tensors out of the pieces that `folder` holds.
NativeWeights native_weights_of(FileSystem& file_system, const fs::path& folder,
                                const Manifest& pieces) {
  NativeWeights weights;
  std::vector<StoredTensor> tensors = pieces.tensors.at("model");
  for (StoredTensor& tensor : tensors) {
    for (StoredPiece& piece : tensor.pieces) piece.file = folder / piece.file;
    weights.shapes.push_back({tensor.name, tensor.shape});
    weights.types.emplace(tensor.name, tensor.type);
  }
  auto stored = std::make_shared<StoredTensors>(file_system, tensors);
  weights.read = [stored](const std::string& name, std::optional<int64_t> index) {
    const TensorSlice whole = TensorSlice::whole_of(stored->find(name)->shape);
    if (!index) return stored->read(name, whole);
    return stored->read(name, whole.narrowed(0, *index, 1)).squeeze(0);
  };
  return weights;
}

}  // namespace

void CheckpointSaver::fail(int64_t step, uint64_t needed, const std::string& cause) {
  std::string free = "an unknown number of bytes";
  try {
    free = size_text(file_system_.free_bytes(folder_.path()));
  } catch (const FileError& error) {
    log_warning("{}", error.what());
  }
  const std::string message = fmt::format(
      "[checkpoint] cannot save {}: {}; the checkpoint needs {}, free are {}; earlier checkpoints "
      "are untouched; look after the disk, and if it is full free space or lower "
      "checkpoint.keep_latest_k",
      folder_.step_path(step).string(), cause, size_text(needed), free);
  // The free bytes change from one look to the next; the ranks' errors are one text.
  throw CheckpointSaveError(text_of_first(ranks_, message));
}

uint64_t CheckpointSaver::bytes_of_all(uint64_t own) {
  uint64_t bytes = 0;
  for (const std::string& text : ranks_.gather(std::to_string(own))) bytes += std::stoull(text);
  return bytes;
}

Manifest CheckpointSaver::manifest_of_all(const CheckpointWriter& writer) {
  if (ranks_.size() == 1) return merged({writer.manifest()});
  const auto texts = ranks_.gather(to_text(writer.manifest()));
  Manifest all;
  together<Error>(ranks_, [&] {
    if (ranks_.rank() != 0) return;
    std::vector<Manifest> of_ranks;
    for (size_t rank = 0; rank < texts.size(); ++rank)
      of_ranks.push_back(parse_manifest(texts[rank], fmt::format("rank {}", rank)));
    all = merged(std::move(of_ranks));
  });
  return all;
}

void CheckpointSaver::publish(int64_t step, uint64_t needed,
                              const std::function<void(const fs::path&)>& write_together) {
  const bool is_first = ranks_.rank() == 0;
  try {
    together<RefusedByDisk>(ranks_, [&] {
      if (!is_first) return;
      if (needed > file_system_.free_bytes(folder_.path())) throw RefusedByDisk("the disk is full");
      folder_.begin(step);
    });
    write_together(folder_.temporary_path(step));
    together<RefusedByDisk>(ranks_, [&] {
      if (is_first) folder_.publish(step);
    });
  } catch (const std::exception& error) {
    if (is_first) folder_.abandon(step);
    const bool is_of_disk = dynamic_cast<const FileError*>(&error) != nullptr ||
                            dynamic_cast<const RefusedByDisk*>(&error) != nullptr;
    if (!is_of_disk) throw;
    fail(step, needed, error.what());
  }
}

void CheckpointSaver::save(CheckpointWriter& writer) {
  Stopwatch watch;
  const uint64_t bytes = bytes_of_all(writer.bytes());
  const int64_t step = writer.manifest().step;
  log_info("Saving a {} checkpoint of {} at step {}.",
           writer.manifest().is_model_only() ? "model only" : "full", size_text(bytes), step);
  publish(step, bytes, [&](const fs::path& folder) {
    together<RefusedByDisk>(ranks_, [&] { writer.write_files(file_system_, folder); });
    const Manifest manifest = manifest_of_all(writer);
    together<RefusedByDisk>(ranks_, [&] {
      if (ranks_.rank() == 0) write_manifest(file_system_, folder, manifest);
    });
  });
  log_info("Finished saving the checkpoint in {:.2f} seconds.", watch.seconds());
}

void CheckpointSaver::save_hugging_face(const TrainingState& state,
                                        const CheckpointContents& contents,
                                        const HuggingFaceFormat& format) {
  Stopwatch watch;
  const HuggingFaceExport options = {contents.export_type};
  NativeWeights weights;
  const auto write = [&](const fs::path& folder) {
    write_hugging_face_folder(file_system_, folder, format, weights, options);
  };
  log_info("Saving the model with Hugging Face's names at step {}.", contents.step);
  if (ranks_.size() == 1) {
    weights = native_weights_of(state.model);
    publish(contents.step, hugging_face_bytes(format, weights, options), write);
  } else {
    // The pieces keep their own types: what an expert bias may not become is decided later.
    std::optional<CheckpointWriter> writer;
    const CheckpointContents in_pieces = {.step = contents.step, .model_only = true};
    together<Error>(ranks_, [&] { writer.emplace(state, in_pieces, ranks_); });
    publish(contents.step, 2 * bytes_of_all(writer->bytes()), [&](const fs::path& folder) {
      const fs::path pieces = folder / "pieces";
      together<RefusedByDisk>(ranks_, [&] {
        if (ranks_.rank() == 0) file_system_.make_folder(pieces);
      });
      together<RefusedByDisk>(ranks_, [&] { writer->write_files(file_system_, pieces); });
      const Manifest manifest = manifest_of_all(*writer);
      together<RefusedByDisk>(ranks_, [&] {
        if (ranks_.rank() != 0) return;
        weights = native_weights_of(file_system_, pieces, manifest);
        write(folder);
        weights = {};
        file_system_.remove_all(pieces);
        file_system_.sync_folder(folder);
      });
    });
  }
  log_info("Finished saving the checkpoint in {:.2f} seconds.", watch.seconds());
}

std::vector<int64_t> CheckpointSaver::removable(int64_t saved, int64_t keep) {
  std::vector<int64_t> steps;
  for (int64_t step : steps_to_remove(folder_.steps(), saved, keep)) {
    // Only what coeus wrote is coeus's to remove.
    if (file_system_.kind(folder_.step_path(step) / kManifestName) == FileSystem::Kind::kFile)
      steps.push_back(step);
  }
  return steps;
}

void CheckpointSaver::remove_old(int64_t saved, int64_t keep) {
  try {
    std::vector<int64_t> old;
    if (ranks_.rank() == 0) {
      try {
        old = removable(saved, keep);
      } catch (const FileError& error) {
        log_warning("old checkpoints could not be removed: {}", error.what());
      }
    }
    if (text_of_first(ranks_, old.empty() ? "none" : "some") == "none") return;
    verify_checkpoint(file_system_, folder_.step_path(saved), saved, ranks_);
    for (int64_t step : old) folder_.remove(step);
  } catch (const CheckpointError& error) {
    log_error("the checkpoint just saved does not read back right, so no older one is removed: {}",
              error.what());
  } catch (const FileError& error) {
    log_warning("old checkpoints could not be removed: {}", error.what());
  }
}

}  // namespace coeus
