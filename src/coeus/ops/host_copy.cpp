#include "coeus/ops/host_copy.h"

#include <torch/types.h>

#include <chrono>

#include "coeus/base/error.h"
#include "coeus/ops/cuda_library.h"
#include "coeus/ops/device_stream.h"

namespace coeus {

namespace {

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

HostCopy::HostCopy(const at::Tensor& x, bool timed) : copy_(x.detach()) {
  if (timed) done_at_ = std::make_shared<std::atomic<double>>(steady_seconds());
  if (x.device().is_cpu()) return;
  // The host does not wait for a copy into pinned memory alone.
  copy_ = at::empty(x.sizes(), x.options().device(at::kCPU).pinned_memory(true));
  copy_.copy_(x.detach(), /*non_blocking=*/true);
  // Ahead of the event, so that whoever waited for that finds the time.
  if (timed)
    cuda_library().when_done(x.device(), [done_at = done_at_] { *done_at = steady_seconds(); });
  arrived_.emplace(x.device().type());
  arrived_->record(current_stream(x.device()));
}

const at::Tensor& HostCopy::wait() const {
  if (arrived_) arrived_->synchronize();
  return copy_;
}

double HostCopy::done_at() const {
  COEUS_ASSERT(done_at_);
  wait();
  return *done_at_;
}

}  // namespace coeus
