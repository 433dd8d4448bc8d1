#pragma once

#include <ATen/core/Tensor.h>

namespace coeus {

/// silu(gate) * up, elementwise: the gated activation of SwiGLU (Shazeer, arXiv 2002.05202).
/// gate, up: equal shapes and dtypes. Throws Error when they differ.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

/// The same by plain tensor operations: any dtype and device, and what `swiglu` is tested against.
at::Tensor swiglu_reference(const at::Tensor& gate, const at::Tensor& up);

}  // namespace coeus
