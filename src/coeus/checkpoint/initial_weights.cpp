#include "coeus/checkpoint/initial_weights.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "coeus/checkpoint/file_name.h"
#include "coeus/checkpoint/safetensors.h"

namespace coeus {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kExtension = ".safetensors";
constexpr uint64_t kMaxIndexBytes = 100'000'000;
constexpr int kMaxIndexDepth = 8;

std::vector<StoredTensor> tensors_of_file(FileSystem& file_system, const fs::path& path) {
  auto file = file_system.open(path);
  std::vector<StoredTensor> sources;
  for (SafetensorsEntry& entry : read_safetensors_header(*file, path.string()).tensors) {
    sources.push_back(stored_whole(std::move(entry.name), entry.type, std::move(entry.shape), path,
                                   entry.begin, entry.end));
  }
  return sources;
}

std::vector<StoredTensor> tensors_of_files(FileSystem& file_system, const fs::path& folder,
                                           const std::set<std::string>& files) {
  std::vector<StoredTensor> all;
  std::unordered_map<std::string, fs::path> home;
  for (const std::string& name : files) {
    for (StoredTensor& source : tensors_of_file(file_system, folder / name)) {
      auto [other, is_new] = home.emplace(source.name, folder / name);
      COEUS_CHECK_AS(CheckpointError, is_new, "tensor '{}' stands in two files: {} and {}",
                     source.name, other->second.string(), (folder / name).string());
      all.push_back(std::move(source));
    }
  }
  return all;
}

std::map<std::string, std::string> parse_index(const std::string& text, const std::string& file) {
  std::map<std::string, std::string> home;
  try {
    const json index = json::parse(text, [](int depth, json::parse_event_t, json&) {
      if (depth > kMaxIndexDepth) throw CheckpointError("it is nested too deeply");
      return true;
    });
    for (const auto& [name, value] : index.at("weight_map").items()) {
      const auto& target = value.get_ref<const std::string&>();
      COEUS_CHECK_AS(CheckpointError, is_plain_file_name(target),
                     "weight_map puts '{}' into '{}', which is no file of this folder", name,
                     target);
      home[name] = target;
    }
  } catch (const json::exception& error) {
    throw CheckpointError(fmt::format("{} cannot be read: {}", file, error.what()));
  } catch (const CheckpointError& error) {
    throw CheckpointError(fmt::format("{} is refused: {}", file, error.what()));
  }
  return home;
}

std::vector<StoredTensor> tensors_of_index(FileSystem& file_system, const fs::path& folder) {
  const std::string index = (folder / kIndexName).string();
  auto home = parse_index(file_system.read_text(folder / kIndexName, kMaxIndexBytes), index);
  std::set<std::string> files;
  for (const auto& [name, file] : home) files.insert(file);
  std::vector<StoredTensor> sources = tensors_of_files(file_system, folder, files);
  std::vector<std::string> complaints;
  for (const StoredTensor& source : sources) {
    auto entry = home.find(source.name);
    const fs::path& file = source.pieces.at(0).file;
    if (entry == home.end() || folder / entry->second != file) {
      complaints.push_back(
          fmt::format("'{}' is in {}, but not by the index", source.name, file.string()));
    }
    if (entry != home.end()) home.erase(entry);
  }
  for (const auto& [name, file] : home) {
    complaints.push_back(fmt::format("'{}' is not in {}", name, (folder / file).string()));
  }
  COEUS_CHECK_AS(CheckpointError, complaints.empty(), "{} disagrees with its files:{}", index,
                 as_lines(complaints));
  return sources;
}

[[noreturn]] void refuse_folder(const fs::path& folder, const std::vector<std::string>& names) {
  std::string hint;
  for (const std::string& name : names) {
    if (name.starts_with("step-"))
      hint = fmt::format("; name a step, such as {}", (folder / name).string());
    if (name == ".metadata" || name.ends_with(".distcp")) {
      hint =
          "; it looks like a checkpoint of torch.distributed.checkpoint, which coeus does not read";
    }
  }
  throw CheckpointError(fmt::format(
      "{} holds neither a checkpoint of coeus nor .safetensors files{}", folder.string(), hint));
}

bool is_checkpoint(FileSystem& file_system, const fs::path& path) {
  return file_system.kind(path) == FileSystem::Kind::kFolder &&
         file_system.kind(path / kManifestName) != FileSystem::Kind::kAbsent;
}

std::vector<StoredTensor> tensors_at(FileSystem& file_system, const fs::path& path) {
  const auto kind = file_system.kind(path);
  if (kind == FileSystem::Kind::kFile) return tensors_of_file(file_system, path);
  COEUS_CHECK_AS(CheckpointError, kind == FileSystem::Kind::kFolder,
                 "{} does not exist; give a checkpoint folder or a .safetensors file",
                 path.string());
  const auto names = file_system.list(path);
  std::set<std::string> files;
  for (const std::string& name : names) {
    if (name.ends_with(kExtension)) files.insert(name);
  }
  if (std::find(names.begin(), names.end(), kIndexName) != names.end()) {
    return tensors_of_index(file_system, path);
  }
  if (files.empty()) refuse_folder(path, names);
  return tensors_of_files(file_system, path, files);
}

bool has_hugging_face_names(const std::vector<StoredTensor>& model) {
  return std::any_of(model.begin(), model.end(),
                     [](const auto& source) { return source.name.starts_with("model.layers."); });
}

}  // namespace

InitialWeights find_initial_weights(FileSystem& file_system, const fs::path& path,
                                    CheckpointRanks& ranks) {
  InitialWeights weights;
  try {
    bool has_manifest = false;
    together<CheckpointError>(ranks, [&] {
      has_manifest = is_checkpoint(file_system, path);
      if (!has_manifest) weights.model = tensors_at(file_system, path);
    });
    if (text_of_first(ranks, has_manifest ? "checkpoint" : "") == "checkpoint") {
      weights.checkpoint = verify_checkpoint(file_system, path, std::nullopt, ranks);
      weights.model = weights.checkpoint->manifest.tensors.at("model");
    }
    return weights;
  } catch (const Error& error) {
    if (error.exit_code() != ExitCode::kFailure) throw;
    throw CheckpointError(error.what());
  }
}

void load_model_weights(FileSystem& file_system, const fs::path& path,
                        const InitialWeights& weights, const NamedTensors& model,
                        const HeldSlices& slices, CheckpointRanks& ranks) {
  auto complaints =
      mismatches(weights.model, model, {.convert_floats = true, .expert_bias_may_be_absent = true},
                 slices, ranks);
  COEUS_CHECK_AS(CheckpointError, complaints.empty(), "{} does not fit the model{}:{}",
                 path.string(),
                 has_hugging_face_names(weights.model)
                     ? " (its names look like Hugging Face's; native names are needed)"
                     : "",
                 as_lines(complaints));
  try {
    together<CheckpointError>(ranks,
                              [&] { fill_tensors(file_system, weights.model, model, slices); });
  } catch (const FileError& error) {
    throw CheckpointError(error.what());
  }
}

void load_model_weights(FileSystem& file_system, const fs::path& path, const NamedTensors& model) {
  load_model_weights(file_system, path, find_initial_weights(file_system, path), model);
}

}  // namespace coeus
