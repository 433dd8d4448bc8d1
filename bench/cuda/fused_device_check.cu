// Checks the fused kernels on a GPU against loops in double on the host, and with --time measures
// them. Prints a line a kernel, and what failed.
//
//   K=src/coeus/kernels/cuda; nvcc -std=c++20 -O3 -lineinfo --expt-relaxed-constexpr -I src
//     -gencode=arch=compute_80,code=[compute_80,sm_80] -gencode=arch=compute_90,code=sm_90
//     bench/cuda/fused_device_check.cu bench/cuda/fused/*.cu $K/rms_norm_*.cu $K/rope.cu
//     $K/swiglu.cu $K/cross_entropy.cu -o fused_device_check
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <string>

#include "coeus/kernels/cuda/check.h"
#include "fused/checks.h"
#include "fused/device_check.h"
#include "fused/device_time.h"

namespace coeus::cuda {
namespace {

void time_copy() {
  const int64_t bytes = int64_t{1} << 30;
  const Memory from(bytes), to(bytes);
  time("copy of 1 GiB", 2. * bytes, [&] {
    check(cudaMemcpyAsync(to.get(), from.get(), bytes, cudaMemcpyDeviceToDevice), "copy");
  });
}

}  // namespace
}  // namespace coeus::cuda

int main(int argc, char** argv) {
  using namespace coeus::cuda;
  const std::string option = argc > 1 ? argv[1] : "";
  if (argc > 2 || (argc == 2 && option != "--time")) {
    std::fprintf(stderr, "usage: %s [--time]\n", argv[0]);
    return 2;
  }
  check_rms_norms();
  check_ropes();
  check_swiglus();
  check_cross_entropies();
  if (option == "--time") {
    time_copy();
    time_rms_norms();
    time_ropes();
    time_swiglus();
    time_cross_entropies();
  }
  return Report::total_failures == 0 ? 0 : 1;
}
