// Tensors of safetensors files by name, read one at a time or a part at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coeus/base/file_system.h"
#include "coeus/checkpoint/tensor_source.h"

namespace coeus {

class StoredTensors {
 public:
  /// `file_system` outlives this.
  StoredTensors(FileSystem& file_system, const std::vector<TensorSource>& sources);

  /// null if there is none of the name.
  const TensorSource* find(const std::string& name) const;
  const std::map<std::string, TensorSource>& all() const { return sources_; }
  /// `name` becomes another name of the tensor `of`, which is there.
  void add_alias(const std::string& name, const std::string& of);
  void remove(const std::string& name) { sources_.erase(name); }

  /// The tensor on the CPU in its stored type; with `index`, only [index] of its first dimension.
  /// Throws CheckpointError for a name that is not there, FileError where reading fails.
  at::Tensor read(const std::string& name, std::optional<int64_t> index = std::nullopt);

 private:
  FileSystem& file_system_;
  std::map<std::string, TensorSource> sources_;
  std::map<std::filesystem::path, std::unique_ptr<ReadableFile>> files_;
};

}  // namespace coeus
