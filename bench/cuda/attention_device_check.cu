// Attention's kernels on a GPU, by themselves: `--check` holds them to float64 on the CPU and to
// the plain kernels in float32, `--time` measures them; both, without either. `--filter TEXT` takes
// the cases whose name has it, `--forward-only` leaves backward out, `--no-hopper` takes the plain
// kernels alone, `--deterministic` asks the Hopper kernels for gradients whose bits never change.
// `--repeats N` looks whether a timed case's bits change in N runs. Ends with 1 when
// a result is wrong, 3 when a kernel does not end, 4 when CUDA reports an error.
#include <cuda_runtime.h>

#include <cstdio>
#include <exception>

#include "attention/checked_cases.h"
#include "attention/options.h"
#include "attention/timer.h"
#include "coeus/kernels/cuda/check.h"

namespace coeus::cuda {
namespace {

int run(const Options& options) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  std::printf("%s, compute capability %d.%d, %d multiprocessors\n", properties.name,
              properties.major, properties.minor, properties.multiProcessorCount);
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  bool right = true;
  if (options.check) right = check_cases(options, stream) && right;
  if (options.time) right = time_cases(options, stream) && right;
  check(cudaStreamDestroy(stream), "cudaStreamDestroy");
  return right ? 0 : 1;
}

}  // namespace
}  // namespace coeus::cuda

int main(int argc, char** argv) {
  try {
    return coeus::cuda::run(coeus::cuda::parse(argc, argv));
  } catch (const std::exception& error) {
    std::printf("STOPPED: %s\n", error.what());
    return 4;
  }
}
