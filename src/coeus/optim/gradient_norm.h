// The norm of gradients and clipping to it. Nothing here waits for a device.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace coeus {

/// The 2-norm of all gradients seen as one vector, float32 []. Each gradient's norm is taken first,
/// then the norm of those, as PyTorch's get_total_norm does.
at::Tensor gradient_norm(const std::vector<std::pair<std::string, at::Tensor>>& parameters);

/// The 2-norm of each parameter's gradient, float64 [parameters], where the gradients are; 0 for a
/// parameter without one.
at::Tensor gradient_norms(const std::vector<std::pair<std::string, at::Tensor>>& parameters);

/// What this rank adds to the square of the norm over all ranks, float64 []: the squares of the
/// norms that gradient_norms gave, so that the norm, rounded to float32, is the same however
/// parameters are split; each divided by its number in `copies`, float64 [parameters], the ranks
/// that hold the same.
at::Tensor squared_gradient_norm(const at::Tensor& norms, const at::Tensor& copies);

/// min(1, max_norm / (norm + 1e-6)), what clipping multiplies gradients by, float32 []. norm: [],
/// where the gradients are; 1 for one that is not finite.
at::Tensor clip_coefficient(double max_norm, const at::Tensor& norm);
/// Multiplies every gradient by a coefficient, float32 [], where the gradients are.
void scale_gradients(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                     const at::Tensor& coefficient);
/// Both in turn.
void clip_gradients(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                    double max_norm, const at::Tensor& norm);

}  // namespace coeus
