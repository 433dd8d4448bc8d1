#include <cstdlib>
#include <cstring>

#include "coeus/kernels/cpu/kernels.h"

namespace coeus {

#define COEUS_DECLARE_CAPABILITY(name)            \
  namespace name {                                \
  const CpuKernels<float>& float_kernels();       \
  const CpuKernels<BFloat16>& bfloat16_kernels(); \
  }

COEUS_DECLARE_CAPABILITY(baseline)
#if defined(__x86_64__)
COEUS_DECLARE_CAPABILITY(avx2)
COEUS_DECLARE_CAPABILITY(avx512)
#endif

namespace {

enum class Capability { kBaseline, kAvx2, kAvx512 };

Capability detect() {
  Capability best = Capability::kBaseline;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = Capability::kAvx2;
  if (best == Capability::kAvx2 && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    best = Capability::kAvx512;
#endif
  const char* asked = std::getenv("COEUS_CPU_CAPABILITY");
  if (asked == nullptr) return best;
  if (std::strcmp(asked, "baseline") == 0) return Capability::kBaseline;
  if (std::strcmp(asked, "avx2") == 0 && best == Capability::kAvx512) return Capability::kAvx2;
  return best;
}

Capability capability() {
  static const Capability value = detect();
  return value;
}

}  // namespace

template <>
const CpuKernels<float>& cpu_kernels<float>() {
#if defined(__x86_64__)
  if (capability() == Capability::kAvx512) return avx512::float_kernels();
  if (capability() == Capability::kAvx2) return avx2::float_kernels();
#endif
  return baseline::float_kernels();
}

template <>
const CpuKernels<BFloat16>& cpu_kernels<BFloat16>() {
#if defined(__x86_64__)
  if (capability() == Capability::kAvx512) return avx512::bfloat16_kernels();
  if (capability() == Capability::kAvx2) return avx2::bfloat16_kernels();
#endif
  return baseline::bfloat16_kernels();
}

const char* cpu_capability() {
  switch (capability()) {
    case Capability::kAvx512:
      return "avx512";
    case Capability::kAvx2:
      return "avx2";
    case Capability::kBaseline:
      break;
  }
  return "baseline";
}

}  // namespace coeus
