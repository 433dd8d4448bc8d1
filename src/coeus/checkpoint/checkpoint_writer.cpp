#include "coeus/checkpoint/checkpoint_writer.h"

#include <torch/types.h>

#include <set>
#include <unordered_map>

#include "coeus/checkpoint/tensor_bytes.h"

namespace coeus {

namespace fs = std::filesystem;

namespace {

std::span<const std::byte> as_byte_span(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::vector<NamedTensors> split_by_bytes(const NamedTensors& tensors, uint64_t max_bytes) {
  std::vector<NamedTensors> groups(1);
  uint64_t bytes = 0;
  for (const auto& named : tensors) {
    const uint64_t more = named.second.nbytes();
    if (!groups.back().empty() && bytes + more > max_bytes) {
      groups.emplace_back();
      bytes = 0;
    }
    groups.back().push_back(named);
    bytes += more;
  }
  return groups;
}

StoredType type_to_store(const at::Tensor& tensor, const std::string& name,
                         const std::optional<StoredType>& export_type) {
  StoredType own = stored_type_of(tensor, name);
  return export_type && is_plain_float(own) ? *export_type : own;
}

}  // namespace

CheckpointWriter::CheckpointWriter(const TrainingState& state, const CheckpointContents& contents) {
  manifest_.coeus_version = COEUS_VERSION;
  manifest_.step = contents.step;
  plan_part("model", state.model, contents);
  if (!contents.model_only) {
    CheckpointContents unconverted = contents;
    unconverted.export_type.reset();
    plan_part("optimizer", state.optimizer, unconverted);
    manifest_.states = state.states;
  }
  for (const auto& [name, file] : manifest_.files) bytes_ += file.bytes;
  bytes_ += to_text(manifest_).size();
}

void CheckpointWriter::plan_part(const std::string& part, const NamedTensors& tensors,
                                 const CheckpointContents& contents) {
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    COEUS_CHECK(names.insert(name).second,
                "[checkpoint] two tensors of the {} have the name '{}'; names must differ", part,
                name);
    stored_type_of(tensor, name);
  }
  manifest_.tensors[part];
  auto groups = split_by_bytes(tensors, contents.max_file_bytes);
  for (size_t i = 0; i < groups.size(); ++i) {
    std::string name = groups.size() == 1 ? fmt::format("{}.safetensors", part)
                                          : fmt::format("{}-{:05}-of-{:05}.safetensors", part,
                                                        i + 1, groups.size());
    plan_file(part, name, groups[i], contents);
  }
}

void CheckpointWriter::plan_file(const std::string& part, const std::string& name,
                                 const NamedTensors& tensors, const CheckpointContents& contents) {
  std::vector<SafetensorsEntry> entries;
  std::unordered_map<std::string, at::Tensor> by_name;
  for (const auto& [tensor_name, tensor] : tensors) {
    SafetensorsEntry& entry = entries.emplace_back();
    entry.name = tensor_name;
    entry.type = type_to_store(tensor, tensor_name, contents.export_type);
    entry.shape = tensor.sizes().vec();
    by_name[tensor_name] = tensor;
  }
  PlannedFile file{part, name, lay_out_safetensors(std::move(entries), {{"format", "pt"}}), {}};
  uint64_t end = file.layout.header.data_begin;
  for (const SafetensorsEntry& entry : file.layout.header.tensors) {
    file.tensors.push_back(by_name.at(entry.name));
    manifest_.tensors[part].push_back({entry.name, name, entry.type, entry.shape, {}});
    end = entry.end;
  }
  manifest_.files[name] = {end, checksum_of(file.layout.header_bytes)};
  files_.push_back(std::move(file));
}

void CheckpointWriter::write_file(FileSystem& file_system, const fs::path& folder,
                                  PlannedFile& file) {
  std::unordered_map<std::string, Checksum> checksums;
  auto out = file_system.create(folder / file.name);
  out->write(as_byte_span(file.layout.header_bytes));
  for (size_t i = 0; i < file.tensors.size(); ++i) {
    const SafetensorsEntry& entry = file.layout.header.tensors[i];
    ChecksumStream checksum;
    for_each_piece(file.tensors[i], entry.type, [&](std::span<const std::byte> piece) {
      checksum.update(piece);
      out->write(piece);
    });
    checksums[entry.name] = checksum.digest();
  }
  out->sync();
  out->close();
  for (ManifestTensor& tensor : manifest_.tensors.at(file.part)) {
    if (tensor.file == file.name) tensor.checksum = checksums.at(tensor.name);
  }
}

void CheckpointWriter::write(FileSystem& file_system, const fs::path& folder) {
  for (PlannedFile& file : files_) write_file(file_system, folder, file);
  const std::string text = to_text(manifest_);
  auto out = file_system.create(folder / kManifestName);
  out->write(as_byte_span(text));
  out->sync();
  out->close();
  file_system.sync_folder(folder);
}

}  // namespace coeus
