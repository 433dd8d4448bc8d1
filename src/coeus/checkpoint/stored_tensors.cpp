#include "coeus/checkpoint/stored_tensors.h"

#include <torch/types.h>

#include "coeus/checkpoint/read_slice.h"
#include "coeus/checkpoint/tensor_bytes.h"

namespace coeus {

StoredTensors::StoredTensors(FileSystem& file_system, const std::vector<StoredTensor>& sources)
    : files_(file_system) {
  for (const StoredTensor& source : sources) sources_.emplace(source.name, source);
}

const StoredTensor* StoredTensors::find(const std::string& name) const {
  const auto found = sources_.find(name);
  return found == sources_.end() ? nullptr : &found->second;
}

void StoredTensors::add_alias(const std::string& name, const std::string& of) {
  StoredTensor source = sources_.at(of);
  source.name = name;
  sources_.insert_or_assign(name, std::move(source));
}

at::Tensor StoredTensors::read(const std::string& name) {
  const StoredTensor* stored = find(name);
  COEUS_CHECK_AS(CheckpointError, stored != nullptr, "tensor '{}' is not there", name);
  return read(name, TensorSlice::whole_of(stored->shape));
}

at::Tensor StoredTensors::read(const std::string& name, const TensorSlice& slice) {
  const StoredTensor* stored = find(name);
  COEUS_CHECK_AS(CheckpointError, stored != nullptr, "tensor '{}' is not there", name);
  const at::Tensor tensor =
      at::empty(slice.size, at::TensorOptions().dtype(scalar_type_of(stored->type)));
  read_slice(files_, *stored, slice, tensor);
  return tensor;
}

}  // namespace coeus
