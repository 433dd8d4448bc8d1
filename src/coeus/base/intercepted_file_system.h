// A file system whose every operation is announced to a function first, which may count it, refuse
// it, or end the process. For tests of what happens when the disk or the process fails.
#pragma once

#include <functional>
#include <string>

#include "coeus/base/file_system.h"

namespace coeus {

/// One operation about to be done: its FileSystem function ("write", "sync" and "close" of a
/// WritableFile, "read" of a ReadableFile among them) and the path it is about.
struct FileOperation {
  std::string name;
  std::filesystem::path path;
  /// Whether it changes the disk or makes a change durable; false for looking and reading.
  bool changes = false;
};

class InterceptedFileSystem : public FileSystem {
 public:
  /// Returns 0 to let the operation happen or an errno value to let it fail; a write that fails
  /// has written the first half of its bytes.
  using Hook = std::function<int(const FileOperation&)>;

  /// `inner` does the work and outlives this.
  InterceptedFileSystem(FileSystem& inner, Hook hook) : inner_(inner), hook_(std::move(hook)) {}

  std::unique_ptr<WritableFile> create(const std::filesystem::path& path) override;
  std::unique_ptr<ReadableFile> open(const std::filesystem::path& path) override;
  void make_folder(const std::filesystem::path& path) override;
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override;
  void remove_file(const std::filesystem::path& path) override;
  void remove_folder(const std::filesystem::path& path) override;
  void sync_folder(const std::filesystem::path& path) override;
  std::vector<std::string> list(const std::filesystem::path& path) override;
  Kind kind(const std::filesystem::path& path) override;
  bool is_link(const std::filesystem::path& path) override;
  uint64_t free_bytes(const std::filesystem::path& path) override;
  std::unique_ptr<FolderLock> try_lock(const std::filesystem::path& path) override;

 private:
  void announce(const char* name, const std::filesystem::path& path, bool changes);

  FileSystem& inner_;
  Hook hook_;
};

}  // namespace coeus
