// From the name of an element type to the type.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "coeus/kernels/cuda/element_type.h"

namespace coeus::cuda {

/// Calls run(zero of the element type).
template <class Run>
void with_type(ElementType type, Run run) {
  switch (type) {
    case ElementType::kFloat32:
      return run(float{});
    case ElementType::kBFloat16:
      return run(__nv_bfloat16{});
    case ElementType::kFloat16:
      return run(__half{});
  }
}

}  // namespace coeus::cuda
