#pragma once

namespace coeus::cuda {

constexpr float kLog2E = 1.4426950408889634F;

/// 2^x in one instruction: within 2 units in the last place, subnormal results as 0, NaN for NaN.
__device__ __forceinline__ float exp2_fast(float x) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}

}  // namespace coeus::cuda
