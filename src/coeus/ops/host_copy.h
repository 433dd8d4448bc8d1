#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <atomic>
#include <memory>
#include <optional>

namespace coeus {

/// Values of a device on their way to the host, which need not wait for them until it reads them.
class HostCopy {
 public:
  /// Starts to copy x once the device has done what its current stream holds so far. A tensor of
  /// the CPU is taken as it is. timed: done_at will be asked for, for which a GPU's stream waits a
  /// little.
  explicit HostCopy(const at::Tensor& x, bool timed = false);

  /// x on the CPU. Blocks until it has arrived.
  const at::Tensor& wait() const;

  /// When the device had done what led to x, in seconds of std::chrono::steady_clock. However late
  /// the host looks, this is the device's time. Blocks like wait().
  double done_at() const;

 private:
  at::Tensor copy_;
  std::optional<c10::Event> arrived_;             ///< none on the CPU
  std::shared_ptr<std::atomic<double>> done_at_;  ///< none unless timed
};

}  // namespace coeus
