#pragma once

#include <ATen/core/Tensor.h>

#include "coeus/kernels/cuda/element_type.h"

namespace coeus {

/// The kernels' name of a tensor's dtype: float32, bfloat16 or float16.
inline cuda::ElementType element_type(const at::Tensor& x) {
  switch (x.scalar_type()) {
    case at::kBFloat16:
      return cuda::ElementType::kBFloat16;
    case at::kHalf:
      return cuda::ElementType::kFloat16;
    default:
      return cuda::ElementType::kFloat32;
  }
}

}  // namespace coeus
