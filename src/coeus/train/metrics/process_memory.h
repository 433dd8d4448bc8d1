// How much memory a run takes at its peak, and of how much.
#pragma once

#include <cstdint>
#include <filesystem>

namespace coeus {

/// The peak since the last reset, in bytes. On a GPU `active` is what tensors held and `reserved`
/// what the allocator took from the device; on a CPU both are the process's resident memory.
struct MemoryPeak {
  double active_bytes = 0;
  double reserved_bytes = 0;
  /// What the device, machine or container has in all; 0 if that is not known.
  double capacity_bytes = 0;
  int64_t n_alloc_retries = 0;
  int64_t n_ooms = 0;
};

/// Where MetricsProcessor reads the memory of the device that trains.
class MemoryMonitor {
 public:
  virtual ~MemoryMonitor() = default;
  virtual MemoryPeak peak() = 0;
  /// Starts a new peak from what is held now.
  virtual void reset_peak() = 0;
};

/// This process's peak resident set: VmHWM of /proc/self/status, reset through
/// /proc/self/clear_refs. Where the kernel does not allow that reset (some containers), it is the
/// peak since the process started. Resetting also resets what getrusage and `time -v` report.
class ProcessMemoryMonitor final : public MemoryMonitor {
 public:
  ProcessMemoryMonitor();
  MemoryPeak peak() override;
  void reset_peak() override;

 private:
  const double capacity_bytes_;
};

/// The least of the machine's memory and the limits that control groups (versions 1 and 2) set on
/// this process, in bytes; 0 if none can be read. `root` is where /proc and /sys are looked up.
double memory_capacity_bytes(const std::filesystem::path& root = "/");

}  // namespace coeus
