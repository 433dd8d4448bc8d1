#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace coeus::nn {

/// f(x), keeping x instead of f's intermediate results: backward runs f again (Chen et al.,
/// "Training deep nets with sublinear memory cost", arXiv 1604.06174). f must compute the same
/// values each time; what it captures besides x, parameters included, gets gradients as usual.
/// Without gradients to compute, plain f(x).
at::Tensor recompute(const std::function<at::Tensor(const at::Tensor&)>& f, const at::Tensor& x);

}  // namespace coeus::nn
