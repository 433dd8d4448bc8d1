#include "coeus/train/precision.h"

#include "coeus/base/error.h"

namespace coeus {

at::ScalarType dtype_from_name(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "bfloat16") return at::kBFloat16;
  throw ConfigError(fmt::format("dtype \"{}\" is not supported; use float32 or bfloat16", name));
}

}  // namespace coeus
