#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace coeus {

/// The 2-norm of all gradients seen as one vector, float32 []. Each gradient's norm is taken first,
/// then the norm of those, as PyTorch's get_total_norm does.
at::Tensor gradient_norm(const std::vector<std::pair<std::string, at::Tensor>>& parameters);

/// Multiplies every gradient by min(1, max_norm / (norm + 1e-6)).
void clip_gradients(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                    double max_norm, double norm);

}  // namespace coeus
