#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace coeus {

/// The dtype that training.dtype and training.mixed_precision_param name: "float32" or "bfloat16".
/// Throws ConfigError for another.
at::ScalarType dtype_from_name(const std::string& name);

}  // namespace coeus
