// The one way to disk for what must survive: checkpoints and whatever else is published by
// write, sync, rename. Tests put an in-memory or a failing implementation in its place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "coeus/base/error.h"

namespace coeus {

/// A file operation that the system refused: which, on what, and errno's value and text.
class FileError : public Error {
 public:
  FileError(const std::string& operation, const std::filesystem::path& path, int error_number);
  int error_number() const { return error_number_; }
  /// The disk or the quota is full (ENOSPC, EDQUOT, EFBIG).
  bool is_out_of_space() const;

 private:
  int error_number_;
};

/// A new file being written from its start to its end.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  /// Appends all bytes or throws FileError; then an unknown part of them may be in the file.
  virtual void write(std::span<const std::byte> bytes) = 0;
  /// Returns when the content would survive a loss of power (fsync).
  virtual void sync() = 0;
  /// Closes and reports what the system found only now. The destructor closes in silence.
  virtual void close() = 0;
};

/// A file open for reading at any place.
class ReadableFile {
 public:
  virtual ~ReadableFile() = default;
  virtual uint64_t size() const = 0;
  /// Fills `into` from `offset` on or throws FileError, also where the file ends too early.
  virtual void read(uint64_t offset, std::span<std::byte> into) = 0;
};

/// Held as long as it lives; the system lets go of it when the process dies.
class FolderLock {
 public:
  virtual ~FolderLock() = default;
};

/// All functions throw FileError where the system refuses; paths are the host's.
class FileSystem {
 public:
  enum class Kind { kAbsent, kFile, kFolder, kOther };

  virtual ~FileSystem() = default;

  /// Makes a file that must not exist yet and opens it for writing.
  virtual std::unique_ptr<WritableFile> create(const std::filesystem::path& path) = 0;
  virtual std::unique_ptr<ReadableFile> open(const std::filesystem::path& path) = 0;
  /// Makes one folder that must not exist yet.
  virtual void make_folder(const std::filesystem::path& path) = 0;
  /// Renames within a file system; `to` must not exist (an empty folder may).
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  virtual void remove_file(const std::filesystem::path& path) = 0;
  /// Removes one empty folder.
  virtual void remove_folder(const std::filesystem::path& path) = 0;
  /// Returns when the entries of the folder (creations, renames, removals) would survive a loss of
  /// power; its files' contents need their own sync.
  virtual void sync_folder(const std::filesystem::path& path) = 0;
  /// The names in a folder, sorted; without . and ..
  virtual std::vector<std::string> list(const std::filesystem::path& path) = 0;
  /// What the path names, links followed.
  virtual Kind kind(const std::filesystem::path& path) = 0;
  /// Whether the path itself is a symbolic link, whatever it leads to.
  virtual bool is_link(const std::filesystem::path& path) = 0;
  /// Bytes that this user may still write on the disk that holds `path`.
  virtual uint64_t free_bytes(const std::filesystem::path& path) = 0;
  /// Takes the folder for this holder alone; null when another one has it. Where the file system
  /// knows no locks, every call gets one.
  virtual std::unique_ptr<FolderLock> try_lock(const std::filesystem::path& path) = 0;

  /// Makes the folder and the missing ones above it, each synced into its parent.
  void make_folders(const std::filesystem::path& path);
  /// Removes a file, a link (not what it leads to), or a folder with all that is in it.
  void remove_all(const std::filesystem::path& path);
  /// A whole file's text; refuses one above `max_bytes` by an Error, before reading.
  std::string read_text(const std::filesystem::path& path, uint64_t max_bytes);
};

/// The host's file system.
FileSystem& posix_file_system();

}  // namespace coeus
