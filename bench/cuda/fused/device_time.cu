#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "coeus/kernels/cuda/check.h"
#include "device_time.h"

namespace coeus::cuda {

namespace {

__global__ void fill(uint16_t* bits, int64_t n, bool bfloat16) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761U ^ static_cast<uint32_t>(i >> 32);
    x ^= x >> 15;
    x *= 2246822519U;
    x ^= x >> 13;
    const float uniform = static_cast<float>(x) * (4.F / 4294967296.F) - 2.F;
    bits[i] = bfloat16 ? __bfloat16_as_ushort(__float2bfloat16_rn(uniform)) : 0;
  }
}

}  // namespace

Memory::Memory(int64_t bytes, bool bfloat16) {
  check(cudaMalloc(&memory_, bytes), "cudaMalloc");
  fill<<<4096, 256>>>(static_cast<uint16_t*>(memory_), bytes / 2, bfloat16);
  check(cudaGetLastError(), "fill");
}

Memory::~Memory() { cudaFree(memory_); }

void time(const std::string& what, double bytes, const std::function<void()>& run) {
  constexpr int kRuns = 20;
  static const Memory flush(int64_t{256} << 20, false);
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> times;
  for (int i = -3; i < kRuns; ++i) {
    check(cudaMemsetAsync(flush.get(), i & 1, size_t{256} << 20), "cudaMemset");
    check(cudaEventRecord(begin), "cudaEventRecord");
    run();
    check(cudaEventRecord(end), "cudaEventRecord");
    check(cudaEventSynchronize(end), what.c_str());
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
    if (i >= 0) times.push_back(milliseconds);
  }
  std::nth_element(times.begin(), times.begin() + kRuns / 2, times.end());
  const double milliseconds = times[kRuns / 2];
  std::printf("%-64s %9.3f us %7.0f GB/s\n", what.c_str(), 1e3 * milliseconds,
              bytes / milliseconds * 1e-6);
  check(cudaEventDestroy(begin), "cudaEventDestroy");
  check(cudaEventDestroy(end), "cudaEventDestroy");
}

}  // namespace coeus::cuda
