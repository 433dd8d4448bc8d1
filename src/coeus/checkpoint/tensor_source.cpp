#include "coeus/checkpoint/tensor_source.h"

#include <torch/types.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "coeus/checkpoint/tensor_bytes.h"

namespace coeus {

namespace {

constexpr size_t kMaxComplaints = 100;
constexpr uint64_t kPieceBytes = uint64_t{1} << 20;

// Files are opened once for all of their tensors.
class OpenFiles {
 public:
  explicit OpenFiles(FileSystem& file_system) : file_system_(file_system) {}
  ReadableFile& at(const std::filesystem::path& path) {
    auto& file = files_[path];
    if (!file) file = file_system_.open(path);
    return *file;
  }

 private:
  FileSystem& file_system_;
  std::map<std::filesystem::path, std::unique_ptr<ReadableFile>> files_;
};

void check_digest(const TensorSource& source, const ChecksumStream& stream) {
  if (!source.checksum || stream.digest() == *source.checksum) return;
  throw CheckpointError(fmt::format(
      "{}: tensor '{}' is damaged: its bytes [{}, {}) have the checksum {}, the manifest says {}",
      source.file.string(), source.name, source.begin, source.end, to_string(stream.digest()),
      to_string(*source.checksum)));
}

bool types_fit(StoredType stored, StoredType own, const MatchRules& rules) {
  return stored == own || (rules.convert_floats && is_plain_float(stored) && is_plain_float(own));
}

}  // namespace

std::vector<std::string> mismatches(const std::vector<TensorSource>& stored,
                                    const NamedTensors& into, const MatchRules& rules) {
  std::vector<std::string> complaints;
  std::unordered_map<std::string, const TensorSource*> unclaimed;
  for (const TensorSource& source : stored) unclaimed[source.name] = &source;
  for (const auto& [name, tensor] : into) {
    auto found = unclaimed.find(name);
    if (found == unclaimed.end()) {
      if (!(rules.expert_bias_may_be_absent && name.ends_with("expert_bias"))) {
        complaints.push_back(
            fmt::format("missing: '{}' of shape [{}]", name, fmt::join(tensor.sizes(), ", ")));
      }
      continue;
    }
    const TensorSource& source = *found->second;
    const StoredType own = stored_type_of(tensor, name);
    if (!std::equal(source.shape.begin(), source.shape.end(), tensor.sizes().begin(),
                    tensor.sizes().end())) {
      complaints.push_back(fmt::format("wrong shape: '{}' is [{}] in {}, the run needs [{}]", name,
                                       fmt::join(source.shape, ", "), source.file.string(),
                                       fmt::join(tensor.sizes(), ", ")));
    } else if (!types_fit(source.type, own, rules)) {
      complaints.push_back(fmt::format("wrong dtype: '{}' is {} in {}, the run needs {}", name,
                                       name_of(source.type), source.file.string(), name_of(own)));
    }
    unclaimed.erase(found);
  }
  for (const TensorSource& source : stored) {
    if (unclaimed.erase(source.name)) {
      complaints.push_back(fmt::format("unknown: '{}' of shape [{}] in {}", source.name,
                                       fmt::join(source.shape, ", "), source.file.string()));
    }
  }
  return complaints;
}

std::string as_lines(const std::vector<std::string>& complaints) {
  const size_t shown = std::min(complaints.size(), kMaxComplaints);
  std::string lines = fmt::format(
      "\n  {}",
      fmt::join(complaints.begin(), complaints.begin() + static_cast<long>(shown), "\n  "));
  if (shown < complaints.size()) {
    lines += fmt::format("\n  and {} more", complaints.size() - shown);
  }
  return lines;
}

void verify_tensors(FileSystem& file_system, const std::vector<TensorSource>& stored) {
  OpenFiles files(file_system);
  std::vector<std::byte> piece(kPieceBytes);
  for (const TensorSource& source : stored) {
    ChecksumStream checksum;
    ReadableFile& file = files.at(source.file);
    for (uint64_t at = source.begin; at < source.end; at += kPieceBytes) {
      auto bytes = std::span(piece).first(std::min(kPieceBytes, source.end - at));
      file.read(at, bytes);
      checksum.update(bytes);
    }
    check_digest(source, checksum);
  }
}

void fill_tensors(FileSystem& file_system, const std::vector<TensorSource>& stored,
                  const NamedTensors& into) {
  OpenFiles files(file_system);
  std::unordered_map<std::string, const TensorSource*> by_name;
  for (const TensorSource& source : stored) by_name[source.name] = &source;
  for (const auto& [name, tensor] : into) {
    auto found = by_name.find(name);
    if (found == by_name.end()) {
      at::NoGradGuard no_grad;
      tensor.detach().zero_();
      continue;
    }
    const TensorSource& source = *found->second;
    ReadableFile& file = files.at(source.file);
    ChecksumStream checksum;
    fill_tensor(tensor, source.type, [&](uint64_t offset, std::span<std::byte> bytes) {
      file.read(source.begin + offset, bytes);
      if (source.checksum) checksum.update(bytes);
    });
    check_digest(source, checksum);
  }
}

}  // namespace coeus
