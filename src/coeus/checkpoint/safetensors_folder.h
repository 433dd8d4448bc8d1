// Weights as others keep them: a folder of safetensors files with an index.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "coeus/base/file_system.h"
#include "coeus/checkpoint/safetensors.h"

namespace coeus {

inline constexpr const char* kSafetensorsIndexName = "model.safetensors.index.json";

/// Gives a tensor in slabs (see slabs_of in foreign_names.h): with an index the part [index] of its
/// first dimension, without one all of it. Any dtype.
using SlabReader = std::function<at::Tensor(const std::string& name, std::optional<int64_t> index)>;

/// Writes model.safetensors, or model-00001-of-00009.safetensors and so on where one would be
/// larger than `max_file_bytes` (a larger tensor gets a file of its own), and the index, into an
/// existing folder; each is synced. Every tensor is read once, slab by slab, and converted to its
/// entry's type; begin and end are not looked at. Throws FileError and what `read` throws.
void write_safetensors_folder(FileSystem& file_system, const std::filesystem::path& folder,
                              const std::vector<SafetensorsEntry>& tensors, const SlabReader& read,
                              uint64_t max_file_bytes);

/// Writes a small text file and syncs it.
void write_synced(FileSystem& file_system, const std::filesystem::path& path,
                  const std::string& text);

}  // namespace coeus
