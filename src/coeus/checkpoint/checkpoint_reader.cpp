#include "coeus/checkpoint/checkpoint_reader.h"

#include <algorithm>
#include <unordered_map>

#include "coeus/checkpoint/safetensors.h"

namespace coeus {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxManifestBytes = uint64_t{1} << 30;

using EntriesByName = std::unordered_map<std::string, SafetensorsEntry>;

Manifest read_manifest_file(FileSystem& file_system, const fs::path& folder) {
  const fs::path path = folder / kManifestName;
  COEUS_CHECK_AS(CheckpointError, file_system.kind(path) == FileSystem::Kind::kFile,
                 "{} holds no {}: it is no checkpoint of coeus, or a damaged one", folder.string(),
                 kManifestName);
  return parse_manifest(file_system.read_text(path, kMaxManifestBytes), path.string());
}

EntriesByName verify_header(FileSystem& file_system, const fs::path& path,
                            const ManifestFile& expected) {
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
  EntriesByName entries;
  for (SafetensorsEntry& entry : header.tensors) entries[entry.name] = std::move(entry);
  return entries;
}

TensorSource locate(const ManifestTensor& tensor, const fs::path& folder,
                    std::map<std::string, EntriesByName>& files) {
  auto file = files.find(tensor.file);
  COEUS_CHECK_AS(CheckpointError, file != files.end(),
                 "{}: the manifest puts tensor '{}' into a file '{}' that it does not list",
                 folder.string(), tensor.name, tensor.file);
  auto entry = file->second.find(tensor.name);
  COEUS_CHECK_AS(CheckpointError,
                 entry != file->second.end() && entry->second.type == tensor.type &&
                     entry->second.shape == tensor.shape,
                 "{}: tensor '{}' is not there with the dtype and shape that the manifest says",
                 (folder / tensor.file).string(), tensor.name);
  TensorSource source{tensor.name,         tensor.type,       tensor.shape,   folder / tensor.file,
                      entry->second.begin, entry->second.end, tensor.checksum};
  file->second.erase(entry);
  return source;
}

VerifiedCheckpoint verify(FileSystem& file_system, const fs::path& folder,
                          std::optional<int64_t> step) {
  VerifiedCheckpoint checkpoint{folder, read_manifest_file(file_system, folder), {}};
  const Manifest& manifest = checkpoint.manifest;
  COEUS_CHECK_AS(CheckpointError, !step || manifest.step == *step,
                 "{}: the manifest is that of step {}: the folder was renamed or its files swapped",
                 folder.string(), manifest.step);
  COEUS_CHECK_AS(CheckpointError, manifest.tensors.count("model"),
                 "{}: the manifest lists no model", folder.string());
  std::map<std::string, EntriesByName> files;
  for (const auto& [name, file] : manifest.files) {
    files[name] = verify_header(file_system, folder / name, file);
  }
  for (const auto& [part, tensors] : manifest.tensors) {
    auto& sources = checkpoint.tensors[part];
    for (const ManifestTensor& tensor : tensors) sources.push_back(locate(tensor, folder, files));
  }
  for (const auto& [name, unlisted] : files) {
    COEUS_CHECK_AS(CheckpointError, unlisted.empty(),
                   "{}: the manifest does not list its tensor '{}'", (folder / name).string(),
                   unlisted.begin()->first);
  }
  for (const auto& [part, sources] : checkpoint.tensors) verify_tensors(file_system, sources);
  return checkpoint;
}

bool contains(const std::vector<std::string>& list, const std::string& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

VerifiedCheckpoint verify_checkpoint(FileSystem& file_system, const fs::path& folder,
                                     std::optional<int64_t> step) {
  try {
    return verify(file_system, folder, step);
  } catch (const CheckpointError&) {
    throw;
  } catch (const Error& error) {
    throw CheckpointError(error.what());
  }
}

bool LoadSelection::takes(const std::string& key) const {
  return model_only ? key == "model" : !contains(exclude, key);
}

std::vector<std::string> lacking(const VerifiedCheckpoint& checkpoint, const TrainingState& into,
                                 const LoadSelection& selection) {
  std::vector<std::string> keys;
  if (selection.takes("optimizer") && !checkpoint.tensors.count("optimizer")) {
    keys.push_back("optimizer");
  }
  for (const auto& [key, state] : into.states) {
    if (selection.takes(key) && !checkpoint.manifest.states.count(key)) keys.push_back(key);
  }
  return keys;
}

void load_checkpoint(FileSystem& file_system, const VerifiedCheckpoint& checkpoint,
                     const LoadSelection& selection, TrainingState& into) {
  std::vector<std::string> complaints;
  auto compare = [&](const char* part, const NamedTensors& tensors, const MatchRules& rules) {
    auto stored = checkpoint.tensors.find(part);
    if (!selection.takes(part) || stored == checkpoint.tensors.end()) return;
    for (std::string& text : mismatches(stored->second, tensors, rules)) {
      complaints.push_back(fmt::format("{}: {}", part, text));
    }
  };
  compare("model", into.model, selection.model_rules);
  compare("optimizer", into.optimizer, {});
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
    if (selection.takes("model")) {
      fill_tensors(file_system, checkpoint.tensors.at("model"), into.model);
    }
    if (selection.takes("optimizer")) {
      fill_tensors(file_system, checkpoint.tensors.at("optimizer"), into.optimizer);
    }
  } catch (const FileError& error) {
    throw CheckpointError(fmt::format("{}; it could be read a moment before", error.what()));
  }
  for (auto& [key, state] : into.states) {
    if (selection.takes(key)) state = checkpoint.manifest.states.at(key);
  }
}

}  // namespace coeus
