// Where tests of operations compute.
#pragma once

#include <c10/core/Device.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "coeus/ops/cuda_library.h"

namespace coeus {

/// The CPU, or the first GPU with COEUS_TEST_DEVICE=cuda. Without a GPU it then says so and ends
/// the program: CTest counts that as skipped.
inline at::Device test_device() {
  static const at::Device device = [] {
    const char* const name = std::getenv("COEUS_TEST_DEVICE");
    if (name == nullptr || std::string(name) != "cuda") return at::Device(at::kCPU);
    if (!load_cuda().empty()) {
      std::printf("no CUDA here: %s\n", load_cuda().c_str());
      std::exit(0);
    }
    return at::Device(at::kCUDA, 0);
  }();
  return device;
}

/// Taken before the first test: once LibTorch was asked for something of CUDA's in vain, as by
/// torch::manual_seed, it stays without.
inline const at::Device kTestDevice = test_device();

}  // namespace coeus
