#include "coeus/optim/gradient_norm.h"

#include <torch/types.h>

#include <algorithm>

#include "coeus/base/error.h"
#include "coeus/ops/fused_operations.h"

namespace coeus {

namespace {

std::vector<at::Tensor> gradients_of(
    const std::vector<std::pair<std::string, at::Tensor>>& parameters) {
  std::vector<at::Tensor> gradients;
  for (const auto& [name, parameter] : parameters)
    if (parameter.grad().defined()) gradients.push_back(parameter.grad());
  return gradients;
}

/// Other than an empty one, which an empty shard of a parameter has.
bool has_gradient(const at::Tensor& parameter) {
  return parameter.grad().defined() && parameter.grad().numel() > 0;
}

/// The 2-norms, float64 [] each.
std::vector<at::Tensor> norms_of(const std::vector<at::Tensor>& tensors) {
  FusedOperations* const fused = fused_operations(tensors[0]);
  const bool alike = std::ranges::all_of(tensors, [&](const at::Tensor& x) {
    return x.scalar_type() == tensors[0].scalar_type() && x.device() == tensors[0].device();
  });
  if (fused != nullptr && alike) return fused->squared_norms(tensors).sqrt().unbind();
  return at::_foreach_norm(tensors, 2, at::kDouble);
}

bool is_float32(const at::Tensor& x) { return x.scalar_type() == at::kFloat; }

}  // namespace

at::Tensor gradient_norm(const std::vector<std::pair<std::string, at::Tensor>>& parameters) {
  at::NoGradGuard no_grad;
  const std::vector<at::Tensor> gradients = gradients_of(parameters);
  if (gradients.empty()) return at::zeros({});
  return at::linalg_vector_norm(at::stack(at::_foreach_norm(gradients)).to(at::kFloat));
}

at::Tensor gradient_norms(const std::vector<std::pair<std::string, at::Tensor>>& parameters) {
  at::NoGradGuard no_grad;
  if (parameters.empty()) return at::zeros({0}, at::kDouble);
  std::vector<at::Tensor> gradients;
  for (const auto& [name, parameter] : parameters)
    if (has_gradient(parameter)) gradients.push_back(parameter.grad());
  std::vector<at::Tensor> known, norms;
  if (!gradients.empty()) known = norms_of(gradients);
  auto next = known.begin();
  for (const auto& [name, parameter] : parameters)
    norms.push_back(
        has_gradient(parameter) ? *next++ : at::zeros({}, parameter.options().dtype(at::kDouble)));
  return at::stack(norms);
}

at::Tensor squared_gradient_norm(const at::Tensor& norms, const at::Tensor& copies) {
  COEUS_CHECK(norms.sizes() == copies.sizes(),
              "[squared_gradient_norm] norms {} need as many numbers of copies, got {}",
              norms.sizes(), copies.sizes());
  return (norms * norms / copies).sum();
}

at::Tensor clip_coefficient(double max_norm, const at::Tensor& norm_in) {
  const at::NoGradGuard no_grad;
  const at::Tensor norm = norm_in.to(at::kFloat);
  // A number over a tensor would be the tensor's inverse times the number, which rounds otherwise.
  const at::Tensor coefficient = (at::full_like(norm, max_norm) / (norm + 1e-6)).clamp_max(1);
  return at::where(at::isfinite(norm), coefficient, at::ones_like(norm));
}

void scale_gradients(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                     const at::Tensor& coefficient) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> gradients = gradients_of(parameters);
  if (gradients.empty()) return;
  // Here it costs no wait to see that there is nothing to do.
  if (coefficient.device().is_cpu() && coefficient.item<float>() == 1) return;
  if (std::ranges::all_of(gradients, is_float32)) return at::_foreach_mul_(gradients, coefficient);
  // Without a dimension of its own it would be rounded to narrower gradients' dtype first.
  for (at::Tensor& gradient : gradients) gradient.mul_(coefficient.view({1}));
}

void clip_gradients(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                    double max_norm, const at::Tensor& norm) {
  scale_gradients(parameters, clip_coefficient(max_norm, norm));
}

}  // namespace coeus
