#include "coeus/nn/parameter.h"

#include <torch/types.h>

namespace coeus::nn {

namespace {

thread_local bool no_memory = false;

}  // namespace

WithoutMemory::WithoutMemory() : before_(no_memory) { no_memory = true; }
WithoutMemory::~WithoutMemory() { no_memory = before_; }

at::Tensor new_parameter(at::IntArrayRef sizes, const at::TensorOptions& options) {
  return no_memory ? without_memory(sizes, options) : at::empty(sizes, options);
}

at::Tensor without_memory(at::IntArrayRef sizes, const at::TensorOptions& options) {
  return at::from_blob(nullptr, sizes, options.requires_grad(false));
}

bool has_memory(const at::Tensor& tensor) {
  return tensor.numel() == 0 || (!tensor.is_meta() && tensor.const_data_ptr() != nullptr);
}

}  // namespace coeus::nn
