#include "coeus/base/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace coeus {

namespace fs = std::filesystem;

namespace {

class Descriptor {
 public:
  Descriptor(const char* operation, const fs::path& path, int flags)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    if (fd_ < 0) throw FileError(operation, path, errno);
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

class PosixWritableFile : public WritableFile {
 public:
  explicit PosixWritableFile(const fs::path& path)
      : path_(path), file_("create", path, O_WRONLY | O_CREAT | O_EXCL) {}

  void write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      ssize_t written = ::write(file_.get(), bytes.data(), bytes.size());
      if (written < 0) {
        if (errno == EINTR) continue;
        throw FileError("write", path_, errno);
      }
      bytes = bytes.subspan(static_cast<size_t>(written));
    }
  }

  void sync() override {
    if (::fsync(file_.get()) != 0) throw FileError("sync", path_, errno);
  }

  void close() override {
    if (::close(file_.release()) != 0) throw FileError("close", path_, errno);
  }

 private:
  fs::path path_;
  Descriptor file_;
};

class PosixReadableFile : public ReadableFile {
 public:
  explicit PosixReadableFile(const fs::path& path)
      : path_(path), file_("open", path, O_RDONLY | O_NONBLOCK) {
    struct stat status {};
    if (::fstat(file_.get(), &status) != 0) throw FileError("stat", path, errno);
    if (S_ISDIR(status.st_mode)) throw FileError("open", path, EISDIR);
    if (!S_ISREG(status.st_mode)) throw FileError("open", path, EINVAL);
    size_ = static_cast<uint64_t>(status.st_size);
  }

  uint64_t size() const override { return size_; }

  void read(uint64_t offset, std::span<std::byte> into) override {
    while (!into.empty()) {
      ssize_t got = ::pread(file_.get(), into.data(), into.size(), static_cast<off_t>(offset));
      if (got < 0) {
        if (errno == EINTR) continue;
        throw FileError("read", path_, errno);
      }
      if (got == 0)
        throw FileError(fmt::format("read at byte {} past the end of", offset), path_, EIO);
      offset += static_cast<uint64_t>(got);
      into = into.subspan(static_cast<size_t>(got));
    }
  }

 private:
  fs::path path_;
  Descriptor file_;
  uint64_t size_ = 0;
};

class PosixFolderLock : public FolderLock {
 public:
  explicit PosixFolderLock(const fs::path& path) : folder_("lock", path, O_RDONLY | O_DIRECTORY) {}
  bool try_lock() { return ::flock(folder_.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK; }

 private:
  Descriptor folder_;
};

class PosixFileSystem : public FileSystem {
 public:
  std::unique_ptr<WritableFile> create(const fs::path& path) override {
    return std::make_unique<PosixWritableFile>(path);
  }

  std::unique_ptr<ReadableFile> open(const fs::path& path) override {
    return std::make_unique<PosixReadableFile>(path);
  }

  void make_folder(const fs::path& path) override {
    if (::mkdir(path.c_str(), 0777) != 0) throw FileError("make folder", path, errno);
  }

  void rename(const fs::path& from, const fs::path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) {
      throw FileError(fmt::format("rename {} to", from.string()), to, errno);
    }
  }

  void remove_file(const fs::path& path) override {
    if (::unlink(path.c_str()) != 0) throw FileError("remove", path, errno);
  }

  void remove_folder(const fs::path& path) override {
    if (::rmdir(path.c_str()) != 0) throw FileError("remove folder", path, errno);
  }

  void sync_folder(const fs::path& path) override {
    Descriptor folder("sync folder", path, O_RDONLY | O_DIRECTORY);
    // Some network file systems cannot sync folders and say so.
    if (::fsync(folder.get()) != 0 && errno != EINVAL) {
      throw FileError("sync folder", path, errno);
    }
  }

  std::vector<std::string> list(const fs::path& path) override {
    std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
    if (!folder) throw FileError("list", path, errno);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(folder.get())) {
      std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(std::move(name));
      errno = 0;
    }
    if (errno != 0) throw FileError("list", path, errno);
    std::sort(names.begin(), names.end());
    return names;
  }

  Kind kind(const fs::path& path) override {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return Kind::kAbsent;
      throw FileError("stat", path, errno);
    }
    if (S_ISREG(status.st_mode)) return Kind::kFile;
    return S_ISDIR(status.st_mode) ? Kind::kFolder : Kind::kOther;
  }

  bool is_link(const fs::path& path) override {
    struct stat status {};
    return ::lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode);
  }

  uint64_t free_bytes(const fs::path& path) override {
    struct statvfs status {};
    if (::statvfs(path.c_str(), &status) != 0) throw FileError("find free space of", path, errno);
    return static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
  }

  std::unique_ptr<FolderLock> try_lock(const fs::path& path) override {
    auto lock = std::make_unique<PosixFolderLock>(path);
    if (!lock->try_lock()) return nullptr;
    return lock;
  }
};

}  // namespace

FileError::FileError(const std::string& operation, const fs::path& path, int error_number)
    : Error(fmt::format("cannot {} {}: {}", operation, path.string(),
                        std::generic_category().message(error_number))),
      error_number_(error_number) {}

bool FileError::is_out_of_space() const {
  return error_number_ == ENOSPC || error_number_ == EDQUOT || error_number_ == EFBIG;
}

void FileSystem::make_folders(const fs::path& path) {
  if (path.empty()) return;
  Kind existing = kind(path);
  if (existing == Kind::kFolder) return;
  if (existing != Kind::kAbsent) throw FileError("make folder", path, ENOTDIR);
  fs::path parent = path.has_filename() ? path.parent_path() : path.parent_path().parent_path();
  make_folders(parent);
  make_folder(path.has_filename() ? path : path.parent_path());
  sync_folder(parent.empty() ? fs::path(".") : parent);
}

void FileSystem::remove_all(const fs::path& path) {
  if (is_link(path) || kind(path) != Kind::kFolder) return remove_file(path);
  for (const std::string& name : list(path)) remove_all(path / name);
  remove_folder(path);
}

std::string FileSystem::read_text(const fs::path& path, uint64_t max_bytes) {
  auto file = open(path);
  COEUS_CHECK(file->size() <= max_bytes, "{} has {} bytes, more than the {} allowed", path.string(),
              file->size(), max_bytes);
  std::string text(file->size(), '\0');
  file->read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

FileSystem& posix_file_system() {
  static PosixFileSystem file_system;
  return file_system;
}

}  // namespace coeus
