#include "coeus/train/convert.h"

#include <torch/types.h>

#include "coeus/base/log.h"
#include "coeus/checkpoint/hugging_face_folder.h"
#include "coeus/checkpoint/initial_weights.h"
#include "coeus/models/hugging_face.h"
#include "coeus/models/registry.h"

namespace coeus {

namespace fs = std::filesystem;

namespace {

/// Native names as a format of their own, so that the same checks serve both directions.
HuggingFaceFormat native_format(const std::vector<NamedShape>& tensors) {
  HuggingFaceFormat format = {.names = {}, .config = nlohmann::json::object()};
  for (const NamedShape& tensor : tensors) format.names.rules.push_back({tensor.name, tensor.name});
  return format;
}

std::vector<SafetensorsEntry> native_entries(const NativeWeights& weights,
                                             const std::optional<StoredType>& export_type) {
  std::vector<SafetensorsEntry> entries;
  for (const NamedShape& tensor : weights.shapes)
    entries.push_back({tensor.name,
                       exported_type(tensor.name, weights.types.at(tensor.name), export_type),
                       tensor.shape, 0, 0});
  return entries;
}

uint64_t bytes_of(const std::vector<SafetensorsEntry>& entries) {
  uint64_t bytes = 0;
  for (const SafetensorsEntry& entry : entries)
    bytes += bytes_of(entry.type, entry.shape).value_or(0);
  return bytes;
}

/// Whether the weights at `in` are in the form that the direction wants.
void check_form(FileSystem& file_system, const ConvertOptions& options) {
  const bool is_foreign =
      has_hugging_face_names(find_initial_weights(file_system, options.in).model);
  COEUS_CHECK_CONFIG(is_foreign != options.to_hugging_face,
                     "[convert] {} has {} names already; --to {} reads {} ones",
                     options.in.string(), is_foreign ? "Hugging Face's" : "native",
                     options.to_hugging_face ? "hf" : "native",
                     is_foreign ? "native" : "Hugging Face's");
}

/// Lets `write` fill a folder beside `out`, and puts it in its place.
template <class Write>
void publish(FileSystem& file_system, const fs::path& out, Write write) {
  const fs::path parent = out.parent_path().empty() ? fs::path(".") : out.parent_path();
  const fs::path trial = parent / fmt::format(".{}.tmp", out.filename().string());
  file_system.make_folders(parent);
  if (file_system.kind(trial) != FileSystem::Kind::kAbsent) file_system.remove_all(trial);
  file_system.make_folder(trial);
  try {
    write(trial);
    file_system.sync_folder(trial);
    file_system.rename(trial, out);
    file_system.sync_folder(parent);
  } catch (...) {
    try {
      file_system.remove_all(trial);
    } catch (const FileError& error) {
      log_warning("{} is left behind: {}", trial.string(), error.what());
    }
    throw;
  }
}

void check_space(FileSystem& file_system, fs::path folder, uint64_t needed) {
  while (!folder.empty() && file_system.kind(folder) == FileSystem::Kind::kAbsent)
    folder = folder.parent_path();
  if (folder.empty()) folder = ".";
  const uint64_t free = file_system.free_bytes(folder);
  COEUS_CHECK(needed <= free, "[convert] {} bytes are needed in {}, {} are free", needed,
              folder.string(), free);
}

/// "a/b/" names the same folder as "a/b".
fs::path without_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

Converted convert_weights(const ConvertOptions& options) {
  FileSystem& file_system = posix_file_system();
  const fs::path out = without_slash(options.out);
  COEUS_CHECK_CONFIG(file_system.kind(out) == FileSystem::Kind::kAbsent,
                     "[convert] {} exists; name a folder that does not", out.string());
  const fs::path& config_folder =
      options.config_folder.empty() ? options.in : options.config_folder;
  const std::shared_ptr<Model> model = build_model({.name = options.model,
                                                    .flavor = options.flavor,
                                                    .hugging_face_folder = config_folder,
                                                    .seq_len = 1,
                                                    .num_mtp_layers = options.num_mtp_layers,
                                                    .tensors = at::kMeta});
  const std::vector<NamedShape> shapes = shapes_of(checkpoint_tensors_of(*model));
  const HuggingFaceFormat format =
      hugging_face_format(options.model, options.flavor, options.num_mtp_layers, config_folder);
  check_form(file_system, options);

  at::NoGradGuard no_grad;
  HuggingFaceWeights stored(file_system, options.in,
                            options.to_hugging_face ? native_format(shapes) : format, shapes, {});
  NativeWeights weights = {shapes, {}, [&](const std::string& name, std::optional<int64_t> index) {
                             return stored.slab(name, index);
                           }};
  for (const NamedShape& tensor : shapes)
    weights.types.emplace(tensor.name, stored.type_of(tensor.name));

  Converted converted = {.tensors = static_cast<int64_t>(shapes.size())};
  const auto entries = native_entries(weights, options.export_type);
  const HuggingFaceExport exported = {options.export_type, options.max_file_bytes};
  converted.bytes =
      options.to_hugging_face ? hugging_face_bytes(format, weights, exported) : bytes_of(entries);
  check_space(file_system, out.parent_path(), converted.bytes);
  publish(file_system, out, [&](const fs::path& folder) {
    if (options.to_hugging_face)
      write_hugging_face_folder(file_system, folder, format, weights, exported);
    else
      write_safetensors_folder(file_system, folder, entries, weights.read, options.max_file_bytes);
  });
  return converted;
}

}  // namespace coeus
