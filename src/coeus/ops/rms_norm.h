#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

namespace coeus {

/// x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang and Sennrich, arXiv
/// 1910.07467). x: [..., dim]; weight: [dim], taken in x's dtype. Computed in float32, returned in
/// x's dtype; float32 on a GPU, under autocast, in autocast's, to which matrix products would round
/// it. Throws Error when the sizes disagree.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// The same by plain tensor operations: what `rms_norm` is tested against.
at::Tensor rms_norm_reference(const at::Tensor& x, const at::Tensor& weight, double eps);

/// x + y, in the dtype to which the two promote, and rms_norm of that sum: in one pass over memory
/// on a GPU, and to the bit as the two by themselves on the CPU. x and y: [..., dim]. Throws Error
/// when the sizes disagree.
std::pair<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x, const at::Tensor& y,
                                               const at::Tensor& weight, double eps);

/// The same by plain tensor operations: what `add_rms_norm` is tested against.
std::pair<at::Tensor, at::Tensor> add_rms_norm_reference(const at::Tensor& x, const at::Tensor& y,
                                                         const at::Tensor& weight, double eps);

}  // namespace coeus
