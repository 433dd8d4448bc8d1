// The types of a tensor's elements that kernels take.
#pragma once

namespace coeus::cuda {

enum class ElementType { kFloat32, kBFloat16, kFloat16 };

}  // namespace coeus::cuda
