#include "coeus/parallel/sharded_parameters.h"

#include <torch/types.h>

#include <algorithm>

#include "coeus/base/error.h"

namespace coeus {

ShardedParameters::ShardedParameters(const torch::nn::Module& model) {
  for (const auto& item : model.named_parameters()) {
    places_[item.key()] = parameters_.size();
    parameters_.push_back({.name = item.key(),
                           .tensor = item.value(),
                           .slice = TensorSlice::whole_of(item.value().sizes().vec()),
                           .partial_over = {}});
  }
}

ShardedParameter& ShardedParameters::at(const std::string& name) {
  const auto place = places_.find(name);
  COEUS_CHECK(place != places_.end(), "[ShardedParameters] there is no parameter {}", name);
  return parameters_[place->second];
}

void ShardedParameters::narrow(const std::string& name, int64_t dim, int64_t begin, int64_t size) {
  ShardedParameter& parameter = at(name);
  COEUS_CHECK(parameter.tensor.is_meta(),
              "[ShardedParameters] {} has memory already: split it while the model is on the meta "
              "device",
              name);
  parameter.slice = parameter.slice.narrowed(dim, begin, size);
  parameter.tensor.set_data(at::empty(parameter.slice.size, parameter.tensor.options()));
}

void ShardedParameters::sum_gradient_over(const std::string& name,
                                          const std::shared_ptr<ProcessGroup>& group) {
  if (group->size() == 1) return;
  ShardedParameter& parameter = at(name);
  parameter.copies *= group->size();
  parameter.partial_over.push_back(group);
}

void ShardedParameters::materialize(torch::nn::Module& model) {
  for (ShardedParameter& parameter : parameters_)
    if (parameter.tensor.is_meta())
      parameter.tensor.set_data(
          at::empty(parameter.slice.size, parameter.tensor.options().device(at::kCPU)));
  for (const auto& item : model.named_buffers())
    if (item.value().is_meta()) {
      at::Tensor buffer = item.value();
      buffer.set_data(at::zeros(buffer.sizes(), buffer.options().device(at::kCPU)));
    }
}

std::map<std::string, TensorSlice> ShardedParameters::slices() const {
  std::map<std::string, TensorSlice> slices;
  for (const ShardedParameter& parameter : parameters_)
    slices.emplace(parameter.name, parameter.slice);
  return slices;
}

ChunkRange chunk_of(int64_t size, int64_t ranks, int64_t rank) {
  const int64_t chunk = (size + ranks - 1) / ranks;
  const int64_t begin = std::min(size, rank * chunk);
  return {begin, std::min(size, begin + chunk) - begin};
}

std::vector<int64_t> chunk_sizes(int64_t size, int64_t ranks) {
  std::vector<int64_t> sizes;
  for (int64_t rank = 0; rank < ranks; ++rank) sizes.push_back(chunk_of(size, ranks, rank).size);
  return sizes;
}

}  // namespace coeus
