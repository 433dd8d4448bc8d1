// How tensors get from one pipeline rank to another.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "coeus/comm/process_group.h"

namespace coeus {

/// One rank's connection to the others of its pipeline. A message is known by its sender and tag,
/// which is used once at a time; no sizes are exchanged. For one thread.
class StageTransport {
 public:
  virtual ~StageTransport() = default;
  virtual int64_t rank() const = 0;
  /// Starts to send `x`, whose values must stay, and does not wait for its receiver.
  virtual Pending send(const at::Tensor& x, int64_t to, int64_t tag) = 0;
  /// Starts to receive into a tensor of the shape and dtype that was sent; `wait` gives it.
  virtual Pending receive(const at::Tensor& into, int64_t from, int64_t tag) = 0;
  /// Whether tensors of a device that are sent and received from now on travel by the host. It must
  /// be the same on all ranks.
  virtual void go_by_host(bool) {}
};

/// Over a process group whose ranks are the pipeline's.
std::unique_ptr<StageTransport> make_group_transport(std::shared_ptr<ProcessGroup> group);

/// For ranks that are threads of one process: one for each of them.
std::vector<std::unique_ptr<StageTransport>> make_in_process_transports(int64_t ranks);

}  // namespace coeus
