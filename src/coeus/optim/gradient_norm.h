#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace coeus {

/// The 2-norm of all gradients seen as one vector, float32 []. Each gradient's norm is taken first,
/// then the norm of those, as PyTorch's get_total_norm does.
at::Tensor gradient_norm(const std::vector<std::pair<std::string, at::Tensor>>& parameters);

/// What this rank adds to the square of the norm over all ranks: the squares of all gradients in
/// float64, so that the norm, rounded to float32, is the same however parameters are split; those
/// of a parameter divided by its number in `copies`, the ranks that hold the same.
double squared_gradient_norm(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                             const std::vector<int64_t>& copies);

/// Multiplies every gradient by min(1, max_norm / (norm + 1e-6)).
void clip_gradients(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                    double max_norm, double norm);

}  // namespace coeus
