#include "wait.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

namespace coeus::cuda {

namespace {

[[noreturn]] void stop(int code, const std::string& what, const char* why) {
  std::printf("STOPPED in %s: %s\n", what.c_str(), why);
  std::fflush(stdout);
  _exit(code);
}

}  // namespace

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void finish(cudaStream_t stream, const std::string& what) {
  constexpr double kLongest = 20;
  const auto start = Clock::now();
  for (;;) {
    const cudaError_t state = cudaStreamQuery(stream);
    if (state == cudaSuccess) return;
    if (state != cudaErrorNotReady) stop(4, what, cudaGetErrorString(state));
    if (seconds_since(start) > kLongest) stop(3, what, "a kernel is not done after 20 s");
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

}  // namespace coeus::cuda
