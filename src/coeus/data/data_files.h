// Which files a data set is made of.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace coeus {

enum class Compression { kNone, kGzip, kZstd };

/// One file of a data set, as it was found when the data set was opened.
struct DataFile {
  std::filesystem::path path;
  uint64_t bytes = 0;  ///< on disk
  Compression compression = Compression::kNone;
};

/// What a folder is searched for.
struct FilePattern {
  std::string expected;               ///< for messages: "*.json or *.jsonl"
  std::vector<std::string> suffixes;  ///< a file's name ends in one of them; empty: any name
  std::vector<std::string> unwanted;  ///< and in none of these
};

/// The files that `path` names: itself, or, for a folder, those of its own files (not of
/// its subfolders, not hidden) whose name fits `pattern` once a final .gz or .zst is taken off,
/// sorted by name as bytes. Throws DataError when there is none or when it cannot be read.
std::vector<DataFile> find_data_files(const std::filesystem::path& path,
                                      const FilePattern& pattern);

/// A hash of the files' names (without their folder) and sizes: equal for a moved copy.
std::string fingerprint(std::span<const DataFile> files);

}  // namespace coeus
