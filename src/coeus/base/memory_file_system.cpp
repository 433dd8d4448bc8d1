#include "coeus/base/memory_file_system.h"

#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

namespace coeus {

namespace fs = std::filesystem;

struct MemoryFileSystem::Node {
  using Entries = std::map<std::string, std::shared_ptr<Node>>;

  bool is_folder = false;
  std::string data;
  size_t synced_bytes = 0;           // files only grow, so the durable content is a prefix
  std::vector<Entries> versions{1};  // of a folder: as last synced, then after every change
  bool locked = false;

  const Entries& entries() const { return versions.back(); }
  Entries& change() { return versions.emplace_back(versions.back()); }
};

namespace {

using Node = MemoryFileSystem::Node;
using Unsynced = MemoryFileSystem::Unsynced;

uint64_t bytes_used(const Node& node) {
  uint64_t sum = node.data.size();
  for (const auto& [name, child] : node.entries()) sum += bytes_used(*child);
  return sum;
}

size_t below(size_t bound, std::mt19937_64& random) {
  return std::uniform_int_distribution<size_t>(0, bound - 1)(random);
}

std::string surviving_data(const Node& node, Unsynced files, std::mt19937_64& random) {
  if (files == Unsynced::kKept) return node.data;
  if (files == Unsynced::kLost) return node.data.substr(0, node.synced_bytes);
  size_t kept = node.synced_bytes + below(node.data.size() - node.synced_bytes + 1, random);
  std::string data = node.data.substr(0, kept);
  size_t tail_kind = below(3, random);
  if (tail_kind == 0) return data;
  data.resize(node.data.size(), '\0');
  if (tail_kind == 1) return data;
  for (size_t i = kept; i < data.size(); ++i) data[i] = static_cast<char>(random());
  return data;
}

std::shared_ptr<Node> surviving_node(const Node& node, Unsynced files, Unsynced entries,
                                     std::mt19937_64& random) {
  auto copy = std::make_shared<Node>();
  copy->is_folder = node.is_folder;
  copy->data = surviving_data(node, files, random);
  copy->synced_bytes = copy->data.size();
  size_t version = node.versions.size() - 1;
  if (entries == Unsynced::kLost) version = 0;
  if (entries == Unsynced::kTorn) version = below(node.versions.size(), random);
  for (const auto& [name, child] : node.versions[version]) {
    copy->versions.back()[name] = surviving_node(*child, files, entries, random);
  }
  return copy;
}

class MemoryWritableFile : public WritableFile {
 public:
  MemoryWritableFile(MemoryFileSystem& file_system, fs::path path, std::shared_ptr<Node> node)
      : file_system_(file_system), path_(std::move(path)), node_(std::move(node)) {}

  void write(std::span<const std::byte> bytes) override {
    size_t fits = std::min<uint64_t>(bytes.size(), file_system_.free_bytes("/"));
    node_->data.append(reinterpret_cast<const char*>(bytes.data()), fits);
    if (fits < bytes.size()) throw FileError("write", path_, ENOSPC);
  }
  void sync() override { node_->synced_bytes = node_->data.size(); }
  void close() override {}

 private:
  MemoryFileSystem& file_system_;
  fs::path path_;
  std::shared_ptr<Node> node_;
};

class MemoryReadableFile : public ReadableFile {
 public:
  MemoryReadableFile(fs::path path, std::shared_ptr<Node> node)
      : path_(std::move(path)), node_(std::move(node)) {}

  uint64_t size() const override { return node_->data.size(); }
  void read(uint64_t offset, std::span<std::byte> into) override {
    if (offset > size() || into.size() > size() - offset) throw FileError("read", path_, EIO);
    if (!into.empty()) std::memcpy(into.data(), node_->data.data() + offset, into.size());
  }

 private:
  fs::path path_;
  std::shared_ptr<Node> node_;
};

class MemoryFolderLock : public FolderLock {
 public:
  explicit MemoryFolderLock(std::shared_ptr<Node> node) : node_(std::move(node)) {
    node_->locked = true;
  }
  ~MemoryFolderLock() override { node_->locked = false; }

 private:
  std::shared_ptr<Node> node_;
};

}  // namespace

MemoryFileSystem::MemoryFileSystem(uint64_t capacity)
    : capacity_(capacity), root_(std::make_shared<Node>()) {
  root_->is_folder = true;
}

MemoryFileSystem::~MemoryFileSystem() = default;

std::shared_ptr<Node> MemoryFileSystem::find(const fs::path& path) const {
  std::shared_ptr<Node> node = root_;
  for (const fs::path& part : path.relative_path()) {
    if (part.empty() || part == ".") continue;
    auto found = node->entries().find(part.string());
    if (found == node->entries().end()) return nullptr;
    node = found->second;
  }
  return node;
}

std::shared_ptr<Node> MemoryFileSystem::folder_of(const char* operation,
                                                  const fs::path& path) const {
  auto folder = find(path.parent_path());
  if (!folder) throw FileError(operation, path, ENOENT);
  if (!folder->is_folder) throw FileError(operation, path, ENOTDIR);
  return folder;
}

std::unique_ptr<MemoryFileSystem> MemoryFileSystem::after_power_loss(
    Unsynced files, Unsynced entries, std::mt19937_64& random) const {
  auto found = std::make_unique<MemoryFileSystem>(capacity_);
  found->root_ = surviving_node(*root_, files, entries, random);
  return found;
}

std::string& MemoryFileSystem::content(const fs::path& path) {
  auto node = find(path);
  if (!node || node->is_folder) throw FileError("look at", path, ENOENT);
  return node->data;
}

void MemoryFileSystem::put(const fs::path& path, std::string content) {
  make_folders(path.parent_path());
  auto node = std::make_shared<Node>();
  node->synced_bytes = content.size();
  node->data = std::move(content);
  auto folder = find(path.parent_path());
  folder->change()[path.filename().string()] = node;
  sync_folder(path.parent_path());
}

std::unique_ptr<WritableFile> MemoryFileSystem::create(const fs::path& path) {
  auto folder = folder_of("create", path);
  if (find(path)) throw FileError("create", path, EEXIST);
  auto node = std::make_shared<Node>();
  folder->change()[path.filename().string()] = node;
  return std::make_unique<MemoryWritableFile>(*this, path, node);
}

std::unique_ptr<ReadableFile> MemoryFileSystem::open(const fs::path& path) {
  auto node = find(path);
  if (!node) throw FileError("open", path, ENOENT);
  if (node->is_folder) throw FileError("open", path, EISDIR);
  return std::make_unique<MemoryReadableFile>(path, node);
}

void MemoryFileSystem::make_folder(const fs::path& path) {
  auto folder = folder_of("make folder", path);
  if (find(path)) throw FileError("make folder", path, EEXIST);
  auto node = std::make_shared<Node>();
  node->is_folder = true;
  folder->change()[path.filename().string()] = node;
}

void MemoryFileSystem::rename(const fs::path& from, const fs::path& to) {
  auto source = folder_of("rename", from);
  auto target = folder_of("rename to", to);
  auto node = find(from);
  if (!node) throw FileError("rename", from, ENOENT);
  if (auto old = find(to); old && old->is_folder && !old->entries().empty()) {
    throw FileError("rename to", to, ENOTEMPTY);
  }
  auto& entries = target->change();
  entries[to.filename().string()] = node;
  auto& source_entries = source == target ? entries : source->change();
  source_entries.erase(from.filename().string());
}

void MemoryFileSystem::remove_file(const fs::path& path) {
  auto node = find(path);
  if (!node) throw FileError("remove", path, ENOENT);
  if (node->is_folder) throw FileError("remove", path, EISDIR);
  folder_of("remove", path)->change().erase(path.filename().string());
}

void MemoryFileSystem::remove_folder(const fs::path& path) {
  auto node = find(path);
  if (!node) throw FileError("remove folder", path, ENOENT);
  if (!node->is_folder) throw FileError("remove folder", path, ENOTDIR);
  if (!node->entries().empty()) throw FileError("remove folder", path, ENOTEMPTY);
  folder_of("remove folder", path)->change().erase(path.filename().string());
}

void MemoryFileSystem::sync_folder(const fs::path& path) {
  auto node = find(path);
  if (!node || !node->is_folder) throw FileError("sync folder", path, ENOENT);
  node->versions.erase(node->versions.begin(), node->versions.end() - 1);
}

std::vector<std::string> MemoryFileSystem::list(const fs::path& path) {
  auto node = find(path);
  if (!node) throw FileError("list", path, ENOENT);
  if (!node->is_folder) throw FileError("list", path, ENOTDIR);
  std::vector<std::string> names;
  for (const auto& [name, child] : node->entries()) names.push_back(name);
  return names;
}

FileSystem::Kind MemoryFileSystem::kind(const fs::path& path) {
  auto node = find(path);
  if (!node) return Kind::kAbsent;
  return node->is_folder ? Kind::kFolder : Kind::kFile;
}

bool MemoryFileSystem::is_link(const fs::path&) { return false; }

uint64_t MemoryFileSystem::free_bytes(const fs::path&) {
  uint64_t used = bytes_used(*root_);
  return used < capacity_ ? capacity_ - used : 0;
}

std::unique_ptr<FolderLock> MemoryFileSystem::try_lock(const fs::path& path) {
  auto node = find(path);
  if (!node || !node->is_folder) throw FileError("lock", path, ENOENT);
  if (node->locked) return nullptr;
  return std::make_unique<MemoryFolderLock>(node);
}

}  // namespace coeus
