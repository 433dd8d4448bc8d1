#include "coeus/parallel/sharded_parameters.h"

#include <torch/types.h>

#include <algorithm>

#include "coeus/base/error.h"
#include "coeus/nn/parameter.h"

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
  COEUS_CHECK(!nn::has_memory(parameter.tensor) || parameter.tensor.numel() == 0,
              "[ShardedParameters] {} has memory already: split it before", name);
  parameter.slice = parameter.slice.narrowed(dim, begin, size);
  parameter.tensor.set_data(nn::without_memory(parameter.slice.size, parameter.tensor.options()));
}

void ShardedParameters::sum_gradient_over(const std::string& name,
                                          const std::shared_ptr<ProcessGroup>& group) {
  if (group->size() == 1) return;
  ShardedParameter& parameter = at(name);
  parameter.copies *= group->size();
  parameter.partial_over.push_back(group);
}

void ShardedParameters::materialize() {
  for (ShardedParameter& parameter : parameters_)
    if (!nn::has_memory(parameter.tensor))
      parameter.tensor.set_data(
          at::empty(parameter.slice.size, parameter.tensor.options().requires_grad(false)));
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
