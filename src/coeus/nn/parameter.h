// How layers come by their parameters.
#pragma once

#include <ATen/core/Tensor.h>

namespace coeus::nn {

/// While it lives, layers made by this thread get parameters of the right sizes without memory, for
/// whoever splits a model before it is there: `tensor.set_data` gives them values. Nothing may
/// compute with them until then. Buffers and tables are there at once.
class WithoutMemory {
 public:
  WithoutMemory();
  ~WithoutMemory();
  WithoutMemory(const WithoutMemory&) = delete;
  WithoutMemory& operator=(const WithoutMemory&) = delete;

 private:
  bool before_;
};

/// Allocated, not initialised, for a layer to register.
at::Tensor new_parameter(at::IntArrayRef sizes, const at::TensorOptions& options);

/// Of the sizes and options of a tensor, without memory.
at::Tensor without_memory(at::IntArrayRef sizes, const at::TensorOptions& options);
bool has_memory(const at::Tensor& tensor);

}  // namespace coeus::nn
