// A file system in memory that knows what a loss of power would leave of it. For tests.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>

#include "coeus/base/file_system.h"

namespace coeus {

/// Follows POSIX where it promises least: what was written to a file is durable only once the file
/// was synced, and an entry of a folder (a creation, rename or removal) only once that folder was.
/// Paths are taken as absolute; there are no links.
class MemoryFileSystem : public FileSystem {
 public:
  /// What became of everything not yet synced: kept, all lost, or cut at a random place (a file's
  /// lost tail may read as zeros or noise; a folder's operations survive up to a random one).
  enum class Unsynced { kKept, kLost, kTorn };

  explicit MemoryFileSystem(uint64_t capacity = std::numeric_limits<uint64_t>::max());
  ~MemoryFileSystem() override;

  /// The disk as it may be found after the power failed at this moment.
  std::unique_ptr<MemoryFileSystem> after_power_loss(Unsynced files, Unsynced entries,
                                                     std::mt19937_64& random) const;
  /// A file's content, to be looked at or damaged in place.
  std::string& content(const std::filesystem::path& path);
  /// Makes (or replaces) a file, durable at once, and the folders above it.
  void put(const std::filesystem::path& path, std::string content);

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

  struct Node;

 private:
  std::shared_ptr<Node> find(const std::filesystem::path& path) const;
  std::shared_ptr<Node> folder_of(const char* operation, const std::filesystem::path& path) const;

  uint64_t capacity_;
  std::shared_ptr<Node> root_;
};

}  // namespace coeus
