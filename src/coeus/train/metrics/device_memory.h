#pragma once

#include <c10/core/Device.h>

#include "coeus/train/metrics/process_memory.h"

namespace coeus {

/// What LibTorch's caching allocator holds of a device that is not the CPU.
class DeviceMemoryMonitor final : public MemoryMonitor {
 public:
  explicit DeviceMemoryMonitor(const at::Device& device);
  MemoryPeak peak() override;
  void reset_peak() override;

 private:
  const at::Device device_;
  const double capacity_bytes_;
};

/// All of the device's memory, in bytes; of the CPU what memory_capacity_bytes() says.
double capacity_bytes_of(const at::Device& device);

}  // namespace coeus
