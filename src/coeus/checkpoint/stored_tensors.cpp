#include "coeus/checkpoint/stored_tensors.h"

#include <torch/types.h>

#include "coeus/checkpoint/tensor_bytes.h"

namespace coeus {

StoredTensors::StoredTensors(FileSystem& file_system, const std::vector<TensorSource>& sources)
    : file_system_(file_system) {
  for (const TensorSource& source : sources) sources_.emplace(source.name, source);
}

const TensorSource* StoredTensors::find(const std::string& name) const {
  const auto found = sources_.find(name);
  return found == sources_.end() ? nullptr : &found->second;
}

void StoredTensors::add_alias(const std::string& name, const std::string& of) {
  TensorSource source = sources_.at(of);
  source.name = name;
  sources_.insert_or_assign(name, std::move(source));
}

at::Tensor StoredTensors::read(const std::string& name, std::optional<int64_t> index) {
  const TensorSource* source = find(name);
  COEUS_CHECK_AS(CheckpointError, source != nullptr, "tensor '{}' is not there", name);
  std::vector<int64_t> shape = source->shape;
  uint64_t begin = source->begin;
  if (index) {
    COEUS_ASSERT(!shape.empty() && *index >= 0 && *index < shape[0]);
    begin += (source->end - source->begin) / static_cast<uint64_t>(shape[0]) *
             static_cast<uint64_t>(*index);
    shape.erase(shape.begin());
  }
  std::unique_ptr<ReadableFile>& file = files_[source->file];
  if (!file) file = file_system_.open(source->file);
  const at::Tensor tensor =
      at::empty(shape, at::TensorOptions().dtype(scalar_type_of(source->type)));
  fill_tensor(tensor, source->type, [&](uint64_t offset, std::span<std::byte> into) {
    file->read(begin + offset, into);
  });
  return tensor;
}

}  // namespace coeus
