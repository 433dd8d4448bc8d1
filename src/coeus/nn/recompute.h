#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "coeus/ops/kept_results.h"

namespace coeus::nn {

/// f(x), keeping x instead of f's intermediate results: backward runs f again (Chen et al.,
/// "Training deep nets with sublinear memory cost", arXiv 1604.06174). f must compute the same
/// values each time; what it captures besides x, parameters included, gets gradients as usual.
/// Without gradients to compute, plain f(x).
at::Tensor recompute(const std::function<at::Tensor(const at::Tensor&)>& f, const at::Tensor& x);

/// The same, but the results that `kept` takes in are kept and not computed again.
at::Tensor recompute_by_operation(const std::function<at::Tensor(const at::Tensor&)>& f,
                                  const at::Tensor& x, const KeptResults& kept);

/// What a layer is run for on this thread, for what must happen once a step and not again when
/// backward recomputes.
enum class ForwardPass {
  kInference,      ///< no gradient will be asked for
  kTraining,       ///< backward will follow
  kRecomputation,  ///< backward is under way and runs the layer again
};
ForwardPass forward_pass();

}  // namespace coeus::nn
