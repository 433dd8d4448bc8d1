#include "coeus/data/data_files.h"

#include <unistd.h>

#include <algorithm>

#include "coeus/base/checksum.h"
#include "coeus/base/error.h"

namespace coeus {

namespace fs = std::filesystem;

namespace {

std::string without_compression(const std::string& name, Compression& compression) {
  compression = name.ends_with(".gz")    ? Compression::kGzip
                : name.ends_with(".zst") ? Compression::kZstd
                                         : Compression::kNone;
  return compression == Compression::kNone ? name : name.substr(0, name.rfind('.'));
}

bool fits(const std::string& name, const FilePattern& pattern) {
  auto ends = [&](const std::string& suffix) { return name.ends_with(suffix); };
  return !name.starts_with('.') && std::ranges::none_of(pattern.unwanted, ends) &&
         (pattern.suffixes.empty() || std::ranges::any_of(pattern.suffixes, ends));
}

DataFile describe(const fs::path& path) {
  std::error_code error;
  auto status = fs::status(path, error);
  COEUS_CHECK_DATA(fs::exists(status), "[data] cannot read {}: {}", path.string(), error.message());
  COEUS_CHECK_DATA(fs::is_regular_file(status),
                   "[data] cannot read {}: it is neither a regular file nor a folder, so a run "
                   "could not resume from it; save what it gives as a file",
                   path.string());
  DataFile file{.path = path};
  without_compression(path.filename().string(), file.compression);
  file.bytes = fs::file_size(path, error);
  COEUS_CHECK_DATA(!error, "[data] cannot read {}: {}", path.string(), error.message());
  COEUS_CHECK_DATA(::access(path.c_str(), R_OK) == 0,
                   "[data] cannot read {}: permission denied; give this user leave to read it",
                   path.string());
  return file;
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  try {
    for (const auto& entry : fs::directory_iterator(folder)) entries.push_back(entry.path());
  } catch (const fs::filesystem_error& error) {
    throw DataError(
        fmt::format("[data] cannot list {}: {}", folder.string(), error.code().message()));
  }
  return entries;
}

}  // namespace

std::vector<DataFile> find_data_files(const fs::path& path, const FilePattern& pattern) {
  if (!is_folder(path)) return {describe(path)};

  std::vector<DataFile> files;
  bool has_folders = false;
  for (const auto& entry : entries_of(path)) {
    if (is_folder(entry)) {
      has_folders = true;
      continue;
    }
    Compression compression;
    if (fits(without_compression(entry.filename().string(), compression), pattern)) {
      files.push_back(describe(entry));
    }
  }
  COEUS_CHECK_DATA(!files.empty(), "[data] {} holds no {} (a final .gz or .zst is fine){}",
                   path.string(), pattern.expected,
                   has_folders ? "; its subfolders are not searched: name one of them" : "");
  std::ranges::sort(files, {}, [](const DataFile& file) { return file.path.filename().string(); });
  return files;
}

std::string fingerprint(std::span<const DataFile> files) {
  std::string all;
  for (const auto& file : files) {
    all += fmt::format("{}\n{}\n", file.path.filename().string(), file.bytes);
  }
  return to_string(checksum_of(all));
}

}  // namespace coeus
