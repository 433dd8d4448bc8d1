#include "coeus/base/intercepted_file_system.h"

#include <utility>

namespace coeus {

namespace fs = std::filesystem;

namespace {

class InterceptedWritableFile : public WritableFile {
 public:
  InterceptedWritableFile(std::unique_ptr<WritableFile> inner, fs::path path,
                          const InterceptedFileSystem::Hook& hook)
      : inner_(std::move(inner)), path_(std::move(path)), hook_(hook) {}

  void write(std::span<const std::byte> bytes) override {
    if (int error = hook_({"write", path_, true})) {
      inner_->write(bytes.first(bytes.size() / 2));
      throw FileError("write", path_, error);
    }
    inner_->write(bytes);
  }
  void sync() override {
    if (int error = hook_({"sync", path_, true})) throw FileError("sync", path_, error);
    inner_->sync();
  }
  void close() override {
    if (int error = hook_({"close", path_, true})) throw FileError("close", path_, error);
    inner_->close();
  }

 private:
  std::unique_ptr<WritableFile> inner_;
  fs::path path_;
  const InterceptedFileSystem::Hook& hook_;
};

class InterceptedReadableFile : public ReadableFile {
 public:
  InterceptedReadableFile(std::unique_ptr<ReadableFile> inner, fs::path path,
                          const InterceptedFileSystem::Hook& hook)
      : inner_(std::move(inner)), path_(std::move(path)), hook_(hook) {}

  uint64_t size() const override { return inner_->size(); }
  void read(uint64_t offset, std::span<std::byte> into) override {
    if (int error = hook_({"read", path_, false})) throw FileError("read", path_, error);
    inner_->read(offset, into);
  }

 private:
  std::unique_ptr<ReadableFile> inner_;
  fs::path path_;
  const InterceptedFileSystem::Hook& hook_;
};

}  // namespace

void InterceptedFileSystem::announce(const char* name, const fs::path& path, bool changes) {
  if (int error = hook_({name, path, changes})) throw FileError(name, path, error);
}

std::unique_ptr<WritableFile> InterceptedFileSystem::create(const fs::path& path) {
  announce("create", path, true);
  return std::make_unique<InterceptedWritableFile>(inner_.create(path), path, hook_);
}

std::unique_ptr<ReadableFile> InterceptedFileSystem::open(const fs::path& path) {
  announce("open", path, false);
  return std::make_unique<InterceptedReadableFile>(inner_.open(path), path, hook_);
}

void InterceptedFileSystem::make_folder(const fs::path& path) {
  announce("make_folder", path, true);
  inner_.make_folder(path);
}

void InterceptedFileSystem::rename(const fs::path& from, const fs::path& to) {
  announce("rename", to, true);
  inner_.rename(from, to);
}

void InterceptedFileSystem::remove_file(const fs::path& path) {
  announce("remove_file", path, true);
  inner_.remove_file(path);
}

void InterceptedFileSystem::remove_folder(const fs::path& path) {
  announce("remove_folder", path, true);
  inner_.remove_folder(path);
}

void InterceptedFileSystem::sync_folder(const fs::path& path) {
  announce("sync_folder", path, true);
  inner_.sync_folder(path);
}

std::vector<std::string> InterceptedFileSystem::list(const fs::path& path) {
  announce("list", path, false);
  return inner_.list(path);
}

FileSystem::Kind InterceptedFileSystem::kind(const fs::path& path) {
  announce("kind", path, false);
  return inner_.kind(path);
}

bool InterceptedFileSystem::is_link(const fs::path& path) {
  announce("is_link", path, false);
  return inner_.is_link(path);
}

uint64_t InterceptedFileSystem::free_bytes(const fs::path& path) {
  announce("free_bytes", path, false);
  return inner_.free_bytes(path);
}

std::unique_ptr<FolderLock> InterceptedFileSystem::try_lock(const fs::path& path) {
  announce("try_lock", path, false);
  return inner_.try_lock(path);
}

}  // namespace coeus
