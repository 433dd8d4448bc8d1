#include "coeus/optim/gradient_norm.h"

#include <torch/types.h>

#include "coeus/base/error.h"

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

double squared_gradient_norm(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                             const std::vector<int64_t>& copies) {
  COEUS_CHECK(parameters.size() == copies.size(),
              "[squared_gradient_norm] {} parameters need as many numbers of copies, got {}",
              parameters.size(), copies.size());
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> norms;
  std::vector<int64_t> copies_of;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const at::Tensor& gradient = parameters[i].second.grad();
    if (!gradient.defined() || gradient.numel() == 0) continue;
    norms.push_back(at::linalg_vector_norm(gradient, 2, {}, false, at::kDouble));
    copies_of.push_back(copies[i]);
  }
  if (norms.empty()) return 0;
  // One wait for the device, not one for each parameter.
  const at::Tensor on_host = at::stack(norms).to(at::kCPU);
  double sum = 0;
  for (size_t i = 0; i < copies_of.size(); ++i) {
    const double norm = on_host.const_data_ptr<double>()[i];
    sum += norm * norm / static_cast<double>(copies_of[i]);
  }
  return sum;
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
