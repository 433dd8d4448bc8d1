#include "coeus/checkpoint/safetensors_folder.h"

#include <torch/types.h>

#include <nlohmann/json.hpp>

#include "coeus/checkpoint/foreign_names.h"
#include "coeus/checkpoint/tensor_bytes.h"

namespace coeus {

namespace {

uint64_t size_of(const SafetensorsEntry& entry) {
  const auto bytes = bytes_of(entry.type, entry.shape);
  COEUS_CHECK(bytes.has_value(), "[safetensors] tensor '{}' has a shape whose size overflows",
              entry.name);
  return *bytes;
}

std::vector<std::vector<SafetensorsEntry>> split(const std::vector<SafetensorsEntry>& tensors,
                                                 uint64_t max_file_bytes) {
  std::vector<std::vector<SafetensorsEntry>> files(1);
  uint64_t bytes = 0;
  for (const SafetensorsEntry& tensor : tensors) {
    if (!files.back().empty() && bytes + size_of(tensor) > max_file_bytes) {
      files.emplace_back();
      bytes = 0;
    }
    bytes += size_of(tensor);
    files.back().push_back(tensor);
  }
  return files;
}

void write_file(FileSystem& file_system, const std::filesystem::path& path,
                const std::vector<SafetensorsEntry>& tensors, const SlabReader& read) {
  const SafetensorsLayout layout = lay_out_safetensors(tensors, {{"format", "pt"}});
  auto out = file_system.create(path);
  out->write(std::as_bytes(std::span(layout.header_bytes)));
  for (const SafetensorsEntry& entry : layout.header.tensors) {
    uint64_t written = 0;
    const auto take = [&](const at::Tensor& slab) {
      for_each_piece(slab, entry.type, [&](std::span<const std::byte> piece) {
        out->write(piece);
        written += piece.size();
      });
    };
    if (entry.shape.size() == 3) {
      for (int64_t i = 0; i < slabs_of(entry.shape); ++i) take(read(entry.name, i));
    } else {
      take(read(entry.name, std::nullopt));
    }
    COEUS_ASSERT(written == entry.end - entry.begin);
  }
  out->sync();
  out->close();
}

}  // namespace

void write_synced(FileSystem& file_system, const std::filesystem::path& path,
                  const std::string& text) {
  auto out = file_system.create(path);
  out->write(std::as_bytes(std::span(text)));
  out->sync();
  out->close();
}

void write_safetensors_folder(FileSystem& file_system, const std::filesystem::path& folder,
                              const std::vector<SafetensorsEntry>& tensors, const SlabReader& read,
                              uint64_t max_file_bytes) {
  const auto files = split(tensors, max_file_bytes);
  nlohmann::json weight_map = nlohmann::json::object();
  uint64_t total = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string name =
        files.size() == 1 ? "model.safetensors"
                          : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, files.size());
    write_file(file_system, folder / name, files[i], read);
    for (const SafetensorsEntry& tensor : files[i]) {
      weight_map[tensor.name] = name;
      total += size_of(tensor);
    }
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  write_synced(file_system, folder / kSafetensorsIndexName, index.dump(2) + "\n");
}

}  // namespace coeus
