#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace coeus {

/// Throws NonFiniteError unless the loss and the gradients' norm are finite. Names the step and the
/// first bad tensor: a parameter, the loss, or a parameter's gradient.
void check_finite(int64_t step, double loss, double grad_norm,
                  const std::vector<std::pair<std::string, at::Tensor>>& parameters);

}  // namespace coeus
