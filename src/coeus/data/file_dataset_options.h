// What data sets of files have in common.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "coeus/data/data_files.h"

namespace coeus {

struct FileDatasetOptions {
  std::string name;
  std::filesystem::path path;
  bool shuffle = false;
  uint64_t seed = 0;
  uint64_t memory_limit = uint64_t{4} << 30;  ///< bytes, for shuffled compressed files
};

/// Dataset::identity of a data set of files.
nlohmann::json file_identity(const std::string& kind, const FileDatasetOptions& options,
                             std::span<const DataFile> files);

}  // namespace coeus
