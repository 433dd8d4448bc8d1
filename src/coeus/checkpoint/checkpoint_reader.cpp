#include "coeus/checkpoint/checkpoint_reader.h"

#include <algorithm>
#include <unordered_map>

#include "coeus/checkpoint/piece_reader.h"
#include "coeus/checkpoint/safetensors.h"

namespace coeus {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxManifestBytes = uint64_t{1} << 30;
constexpr uint64_t kReadBytes = uint64_t{1} << 20;

std::string manifest_text(FileSystem& file_system, const fs::path& folder) {
  const fs::path path = folder / kManifestName;
  COEUS_CHECK_AS(CheckpointError, file_system.kind(path) == FileSystem::Kind::kFile,
                 "{} holds no {}: it is no checkpoint of coeus, or a damaged one", folder.string(),
                 kManifestName);
  return file_system.read_text(path, kMaxManifestBytes);
}

/// A piece of a file, and what it belongs to.
struct ListedPiece {
  const StoredTensor* tensor;
  StoredPiece* piece;
};
using PiecesByFile = std::map<std::string, std::vector<ListedPiece>>;

PiecesByFile by_file(Manifest& manifest, const fs::path& folder) {
  PiecesByFile files;
  for (const auto& [name, file] : manifest.files) files[name];
  for (auto& [part, tensors] : manifest.tensors) {
    for (StoredTensor& tensor : tensors) {
      for (StoredPiece& piece : tensor.pieces) {
        const auto file = files.find(piece.file);
        COEUS_CHECK_AS(CheckpointError, file != files.end(),
                       "{}: the manifest puts tensor '{}' into a file '{}' that it does not list",
                       folder.string(), tensor.name, piece.file.string());
        file->second.push_back({&tensor, &piece});
      }
    }
  }
  return files;
}

/// Compares a file's size and header with the manifest, and its tensors with the pieces listed;
/// these get their places where the manifest is of a version that does not say them.
void verify_header(FileSystem& file_system, const fs::path& path, const ManifestFile& expected,
                   const std::vector<ListedPiece>& pieces) {
  auto file = file_system.open(path);
  COEUS_CHECK_AS(CheckpointError, file->size() == expected.bytes,
                 "{}: the file has {} bytes, the manifest says {}: it is cut short or was replaced",
                 path.string(), file->size(), expected.bytes);
  const std::vector<std::byte> start = read_safetensors_start(*file, path.string());
  const Checksum found = checksum_of(start);
  COEUS_CHECK_AS(CheckpointError, found == expected.header,
                 "{}: the header, bytes [0, {}), is damaged: it has the checksum {}, the manifest "
                 "says {}",
                 path.string(), start.size(), to_string(found), to_string(expected.header));
  SafetensorsHeader header = parse_safetensors_header(start, file->size(), path.string());
  std::unordered_map<std::string, SafetensorsEntry> entries;
  for (SafetensorsEntry& entry : header.tensors) entries[entry.name] = std::move(entry);
  for (const auto& [tensor, piece] : pieces) {
    const std::string name = name_of_piece(tensor->name, piece->slice);
    const auto entry = entries.find(name);
    const bool has_place = piece->begin != 0;
    COEUS_CHECK_AS(CheckpointError,
                   entry != entries.end() && entry->second.type == tensor->type &&
                       entry->second.shape == piece->slice.size &&
                       (!has_place || entry->second.begin == piece->begin),
                   "{}: tensor '{}' is not there with the dtype, shape and place that the manifest "
                   "says",
                   path.string(), name);
    piece->begin = entry->second.begin;
    piece->end = entry->second.end;
    entries.erase(entry);
  }
  COEUS_CHECK_AS(CheckpointError, entries.empty(), "{}: the manifest does not list its tensor '{}'",
                 path.string(), entries.begin()->first);
}

bool has_places(const std::vector<ListedPiece>& pieces) {
  return std::all_of(pieces.begin(), pieces.end(),
                     [](const ListedPiece& listed) { return listed.piece->begin != 0; });
}

/// The bytes of all files one after the other are cut into as many equal shares as there are ranks;
/// a header or chunk is the share's in which it begins.
class Share {
 public:
  Share(const Manifest& manifest, const CheckpointRanks& ranks) {
    uint64_t total = 0;
    for (const auto& [name, file] : manifest.files) {
      starts_[name] = total;
      total += file.bytes;
    }
    const auto share = [&](int rank) {
      return total / static_cast<uint64_t>(ranks.size()) * static_cast<uint64_t>(rank);
    };
    begin_ = share(ranks.rank());
    end_ = ranks.rank() + 1 == ranks.size() ? UINT64_MAX : share(ranks.rank() + 1);
  }
  bool holds(const std::string& file, uint64_t offset) const {
    const uint64_t at = starts_.at(file) + offset;
    return at >= begin_ && at < end_;
  }

 private:
  std::map<std::string, uint64_t> starts_;
  uint64_t begin_;
  uint64_t end_;
};

void verify_share(FileSystem& file_system, const fs::path& folder, const Manifest& manifest,
                  const PiecesByFile& files, const Share& share) {
  std::vector<std::byte> buffer(kReadBytes);
  for (const auto& [name, pieces] : files) {
    if (share.holds(name, 0) || !has_places(pieces)) {
      verify_header(file_system, folder / name, manifest.files.at(name), pieces);
    }
    std::unique_ptr<ReadableFile> file;
    for (const auto& [tensor, piece] : pieces) {
      for (uint64_t chunk = 0; chunk < piece->checksums.size(); ++chunk) {
        if (!share.holds(name, piece->begin + chunk * piece->chunk_bytes)) continue;
        if (!file) file = file_system.open(folder / name);
        verify_chunk(*file, tensor->name, *piece, chunk, buffer);
      }
    }
  }
}

VerifiedCheckpoint verify(FileSystem& file_system, const fs::path& folder,
                          std::optional<int64_t> step, CheckpointRanks& ranks) {
  std::string text;
  together<CheckpointError>(ranks, [&] {
    if (ranks.rank() == 0) text = manifest_text(file_system, folder);
  });
  // All ranks decide by the same text.
  if (ranks.size() > 1) text = text_of_first(ranks, text);
  VerifiedCheckpoint checkpoint{folder, parse_manifest(text, (folder / kManifestName).string())};
  Manifest& manifest = checkpoint.manifest;
  COEUS_CHECK_AS(CheckpointError, !step || manifest.step == *step,
                 "{}: the manifest is that of step {}: the folder was renamed or its files swapped",
                 folder.string(), manifest.step);
  COEUS_CHECK_AS(CheckpointError, manifest.tensors.count("model"),
                 "{}: the manifest lists no model", folder.string());
  check_covered(manifest);
  const PiecesByFile files = by_file(manifest, folder);
  for (auto& [part, tensors] : manifest.tensors) {
    for (StoredTensor& tensor : tensors) {
      for (StoredPiece& piece : tensor.pieces) piece.file = folder / piece.file;
    }
  }
  together<CheckpointError>(
      ranks, [&] { verify_share(file_system, folder, manifest, files, Share(manifest, ranks)); });
  return checkpoint;
}

bool contains(const std::vector<std::string>& list, const std::string& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

VerifiedCheckpoint verify_checkpoint(FileSystem& file_system, const fs::path& folder,
                                     std::optional<int64_t> step, CheckpointRanks& ranks) {
  try {
    return verify(file_system, folder, step, ranks);
  } catch (const Error& error) {
    // What is wrong with a rank is not wrong with the checkpoint.
    if (error.exit_code() != ExitCode::kFailure) throw;
    throw CheckpointError(error.what());
  }
}

bool LoadSelection::takes(const std::string& key) const {
  return model_only ? key == "model" : !contains(exclude, key);
}

std::vector<std::string> lacking(const VerifiedCheckpoint& checkpoint, const TrainingState& into,
                                 const LoadSelection& selection) {
  std::vector<std::string> keys;
  if (selection.takes("optimizer") && checkpoint.manifest.is_model_only()) {
    keys.push_back("optimizer");
  }
  for (const auto& [key, state] : into.states) {
    if (selection.takes(key) && !checkpoint.manifest.states.count(key)) keys.push_back(key);
  }
  return keys;
}

void load_checkpoint(FileSystem& file_system, const VerifiedCheckpoint& checkpoint,
                     const LoadSelection& selection, TrainingState& into, CheckpointRanks& ranks) {
  const auto& stored = checkpoint.manifest.tensors;
  std::vector<std::string> complaints;
  auto compare = [&](const char* part, const NamedTensors& tensors, const HeldSlices& slices,
                     const MatchRules& rules) {
    if (!selection.takes(part) || !stored.count(part)) return;
    for (std::string& text : mismatches(stored.at(part), tensors, rules, slices, ranks)) {
      complaints.push_back(fmt::format("{}: {}", part, text));
    }
  };
  compare("model", into.model, into.model_slices, selection.model_rules);
  compare("optimizer", into.optimizer, into.optimizer_slices, {});
  for (const std::string& key : lacking(checkpoint, into, selection)) {
    complaints.push_back(fmt::format("missing: the state '{}'", key));
  }
  for (const auto& [key, state] : checkpoint.manifest.states) {
    if (selection.takes(key) && !into.states.count(key)) {
      complaints.push_back(fmt::format("unknown: the state '{}'", key));
    }
  }
  COEUS_CHECK_AS(CheckpointError, complaints.empty(), "{} does not fit this run's configuration:{}",
                 checkpoint.folder.string(), as_lines(complaints));

  try {
    together<CheckpointError>(ranks, [&] {
      if (selection.takes("model")) {
        fill_tensors(file_system, stored.at("model"), into.model, into.model_slices);
      }
      if (selection.takes("optimizer")) {
        fill_tensors(file_system, stored.at("optimizer"), into.optimizer, into.optimizer_slices);
      }
    });
  } catch (const FileError& error) {
    throw CheckpointError(fmt::format("{}; it could be read a moment before", error.what()));
  }
  for (auto& [key, state] : into.states) {
    if (selection.takes(key)) state = checkpoint.manifest.states.at(key);
  }
}

}  // namespace coeus
