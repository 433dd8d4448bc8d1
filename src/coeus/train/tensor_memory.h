#pragma once

#include <cstdint>

namespace coeus {

/// Counts what tensors hold of the CPU's memory. LibTorch keeps no such count itself.
class TensorMemory {
 public:
  /// Puts the counting allocator in place; tensors made before are not counted. Also keeps freed
  /// memory in the process, for a step's activations return in the next step and taking pages from
  /// the system anew is slow. Call once, before the first tensor.
  static void install();
  static bool is_installed();

  /// Bytes held now, and at most since the last reset_peak.
  static int64_t current_bytes();
  static int64_t peak_bytes();
  static void reset_peak();
};

}  // namespace coeus
