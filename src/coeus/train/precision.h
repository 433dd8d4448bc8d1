#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace coeus {

/// The dtype that training.dtype and training.mixed_precision_param name: "float32" or "bfloat16".
/// Throws ConfigError for another.
at::ScalarType dtype_from_name(const std::string& name);

/// While it lives, matrix products on this thread take their inputs in `dtype` (torch.autocast).
/// float32 changes nothing, as in TorchTitan.
class Autocast {
 public:
  explicit Autocast(at::ScalarType dtype);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool enabled_before_;
  at::ScalarType dtype_before_;
};

}  // namespace coeus
