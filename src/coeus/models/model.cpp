#include "coeus/models/model.h"

#include <torch/torch.h>

namespace coeus {

std::vector<std::pair<std::string, at::Tensor>> named_parameters_of(const Model& model) {
  std::vector<std::pair<std::string, at::Tensor>> named;
  for (const auto& item : model.named_parameters()) named.emplace_back(item.key(), item.value());
  return named;
}

int64_t parameter_count(const Model& model) {
  int64_t count = 0;
  for (const at::Tensor& parameter : model.parameters()) count += parameter.numel();
  return count;
}

}  // namespace coeus
