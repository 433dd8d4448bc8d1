#include "coeus/ops/host_copy.h"

#include <torch/types.h>

#include "coeus/ops/device_stream.h"

namespace coeus {

HostCopy::HostCopy(const at::Tensor& x) : copy_(x.detach()) {
  if (x.device().is_cpu()) return;
  // The host does not wait for a copy into pinned memory alone.
  copy_ = at::empty(x.sizes(), x.options().device(at::kCPU).pinned_memory(true));
  copy_.copy_(x.detach(), /*non_blocking=*/true);
  arrived_.emplace(x.device().type());
  arrived_->record(current_stream(x.device()));
}

const at::Tensor& HostCopy::wait() const {
  if (arrived_) arrived_->synchronize();
  return copy_;
}

}  // namespace coeus
