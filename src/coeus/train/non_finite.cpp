#include "coeus/train/non_finite.h"

#include <torch/torch.h>

#include <cmath>

#include "coeus/base/error.h"

namespace coeus {

namespace {

bool is_finite(const at::Tensor& x) { return at::isfinite(x).all().item<bool>(); }

std::string first_bad_tensor(double loss,
                             const std::vector<std::pair<std::string, at::Tensor>>& parameters) {
  at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : parameters)
    if (!is_finite(parameter)) return fmt::format("the parameter {}", name);
  if (!std::isfinite(loss)) return "the loss (all parameters are finite)";
  for (const auto& [name, parameter] : parameters)
    if (parameter.grad().defined() && !is_finite(parameter.grad()))
      return fmt::format("the gradient of {}", name);
  return "the norm of the gradients, whose squares overflow";
}

}  // namespace

void check_finite(int64_t step, double loss, double grad_norm,
                  const std::vector<std::pair<std::string, at::Tensor>>& parameters) {
  if (std::isfinite(loss) && std::isfinite(grad_norm)) return;
  throw NonFiniteError(fmt::format(
      "step {}: loss {} and grad_norm {} are not both finite; the first bad tensor is {}. The step "
      "was not taken. Lower optimizer.lr, lengthen lr_scheduler.warmup_steps, or resume from an "
      "earlier checkpoint",
      step, loss, grad_norm, first_bad_tensor(loss, parameters)));
}

}  // namespace coeus
