// Waiting for the device, and a clock.
#pragma once

#include <cuda_runtime.h>

#include <chrono>
#include <string>

namespace coeus::cuda {

/// What durations on the host are measured with.
using Clock = std::chrono::steady_clock;

/// How long ago `start` was.
double seconds_since(Clock::time_point start);

/// Waits for the stream; a kernel that hangs can only be ended with its process.
void finish(cudaStream_t stream, const std::string& what);

}  // namespace coeus::cuda
