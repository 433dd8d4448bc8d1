#include "coeus/ops/fused_operations.h"

#include <map>

namespace coeus {

namespace {

std::map<at::DeviceType, FusedOperations*>& operations_by_device() {
  static std::map<at::DeviceType, FusedOperations*> all;
  return all;
}

}  // namespace

void set_fused_operations(at::DeviceType device, FusedOperations* operations) {
  operations_by_device()[device] = operations;
}

FusedOperations* fused_operations(const at::Tensor& x) {
  const auto found = operations_by_device().find(x.device().type());
  if (found == operations_by_device().end()) return nullptr;
  return found->second->takes(x.scalar_type()) ? found->second : nullptr;
}

}  // namespace coeus
