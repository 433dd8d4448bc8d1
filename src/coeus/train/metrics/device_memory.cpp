#include "coeus/train/metrics/device_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

namespace coeus {

namespace {

c10::DeviceAllocator& allocator_of(const at::Device& device) {
  return *at::getDeviceAllocator(device.type());
}

double peak_of(const c10::CachingAllocator::StatArray& bytes) {
  return static_cast<double>(
      bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak);
}

}  // namespace

double capacity_bytes_of(const at::Device& device) {
  if (device.is_cpu()) return memory_capacity_bytes();
  return static_cast<double>(allocator_of(device).getMemoryInfo(device.index()).second);
}

DeviceMemoryMonitor::DeviceMemoryMonitor(const at::Device& device)
    : device_(device), capacity_bytes_(capacity_bytes_of(device)) {}

MemoryPeak DeviceMemoryMonitor::peak() {
  const auto stats = allocator_of(device_).getDeviceStats(device_.index());
  return {.active_bytes = peak_of(stats.active_bytes),
          .reserved_bytes = peak_of(stats.reserved_bytes),
          .capacity_bytes = capacity_bytes_,
          .n_alloc_retries = stats.num_alloc_retries,
          .n_ooms = stats.num_ooms};
}

void DeviceMemoryMonitor::reset_peak() { allocator_of(device_).resetPeakStats(device_.index()); }

}  // namespace coeus
