#include "coeus/optim/gradient_norm.h"

#include <torch/types.h>

namespace coeus {

namespace {

std::vector<at::Tensor> gradients_of(
    const std::vector<std::pair<std::string, at::Tensor>>& parameters) {
  std::vector<at::Tensor> gradients;
  for (const auto& [name, parameter] : parameters)
    if (parameter.grad().defined()) gradients.push_back(parameter.grad());
  return gradients;
}

}  // namespace

at::Tensor gradient_norm(const std::vector<std::pair<std::string, at::Tensor>>& parameters) {
  at::NoGradGuard no_grad;
  const std::vector<at::Tensor> gradients = gradients_of(parameters);
  if (gradients.empty()) return at::zeros({});
  return at::linalg_vector_norm(at::stack(at::_foreach_norm(gradients)).to(at::kFloat));
}

void clip_gradients(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                    double max_norm, double norm) {
  at::NoGradGuard no_grad;
  // In float32, as PyTorch clips.
  const auto coefficient =
      static_cast<float>(max_norm) / (static_cast<float>(norm) + static_cast<float>(1e-6));
  if (coefficient >= 1.0F) return;
  std::vector<at::Tensor> gradients = gradients_of(parameters);
  at::_foreach_mul_(gradients, static_cast<double>(coefficient));
}

}  // namespace coeus
