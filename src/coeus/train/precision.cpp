#include "coeus/train/precision.h"

#include <ATen/autocast_mode.h>

#include "coeus/base/error.h"

namespace coeus {

at::ScalarType dtype_from_name(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "bfloat16") return at::kBFloat16;
  throw ConfigError(fmt::format("dtype \"{}\" is not supported; use float32 or bfloat16", name));
}

Autocast::Autocast(at::ScalarType dtype)
    : enabled_before_(at::autocast::is_autocast_enabled(at::kCPU)),
      dtype_before_(at::autocast::get_autocast_dtype(at::kCPU)) {
  at::autocast::set_autocast_enabled(at::kCPU, dtype != at::kFloat);
  if (dtype != at::kFloat) at::autocast::set_autocast_dtype(at::kCPU, dtype);
}

Autocast::~Autocast() {
  // Weights that were cast are kept until here; the optimizer changes them next.
  at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(at::kCPU, enabled_before_);
  at::autocast::set_autocast_dtype(at::kCPU, dtype_before_);
}

}  // namespace coeus
