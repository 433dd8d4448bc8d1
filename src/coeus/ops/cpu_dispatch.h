// Calls a CPU kernel with the element type of a tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include "coeus/kernels/cpu/kernels.h"

namespace coeus {

/// Whether the CPU kernels take this tensor: on the CPU, float32 or bfloat16.
inline bool has_cpu_kernel(const at::Tensor& x) {
  return x.device().is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

/// Pointers of a tensor as the kernels name its element type.
template <class T>
const T* kernel_input(const at::Tensor& x) {
  return static_cast<const T*>(x.const_data_ptr());
}
template <class T>
T* kernel_output(const at::Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

/// Calls f<float>() or f<BFloat16>() by the tensor's dtype; has_cpu_kernel must hold.
template <class F>
auto with_kernel_type(const at::Tensor& x, F&& f) {
  if (x.scalar_type() == at::kBFloat16) return f.template operator()<BFloat16>();
  return f.template operator()<float>();
}

}  // namespace coeus
