// A file that grows by whole records.
#pragma once

#include <filesystem>
#include <string_view>

namespace coeus {

/// A file to which whole records are appended, each handed to the system at once, so that a reader
/// sees no half record. When a record cannot be written (a full disk), the part that was is cut off
/// again and a warning is logged, once until writing works again: a run does not die of its log.
class AppendFile {
 public:
  /// Opens `path`, made if missing. Throws ConfigError naming it and the cause if it cannot.
  explicit AppendFile(std::filesystem::path path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void append(std::string_view record);
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int file_;
  bool failing_ = false;
};

}  // namespace coeus
