// Stored tensors by name, read one at a time or a box at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "coeus/base/file_system.h"
#include "coeus/checkpoint/piece_reader.h"
#include "coeus/checkpoint/stored_piece.h"

namespace coeus {

class StoredTensors {
 public:
  /// `file_system` outlives this.
  StoredTensors(FileSystem& file_system, const std::vector<StoredTensor>& sources);

  /// null if there is none of the name.
  const StoredTensor* find(const std::string& name) const;
  const std::map<std::string, StoredTensor>& all() const { return sources_; }
  /// `name` becomes another name of the tensor `of`, which is there.
  void add_alias(const std::string& name, const std::string& of);
  void remove(const std::string& name) { sources_.erase(name); }

  /// The tensor, or a box of it, on the CPU in its stored type. Throws CheckpointError for a name
  /// that is not there and for what its checksum finds damaged, FileError where reading fails.
  at::Tensor read(const std::string& name);
  at::Tensor read(const std::string& name, const TensorSlice& slice);

 private:
  OpenFiles files_;
  std::map<std::string, StoredTensor> sources_;
};

}  // namespace coeus
