#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

#include "coeus/base/error.h"
#include "coeus/kernels/cpu/attention.h"
#include "coeus/kernels/cpu/kernels.h"

namespace coeus {

#define COEUS_DECLARE_CAPABILITY(name)                       \
  namespace name {                                           \
  const CpuKernels<float>& float_kernels();                  \
  const CpuKernels<BFloat16>& bfloat16_kernels();            \
  const CpuAttentionKernels<float>& float_attention();       \
  const CpuAttentionKernels<BFloat16>& bfloat16_attention(); \
  const CpuAttentionKernels<double>& double_attention();     \
  }

COEUS_DECLARE_CAPABILITY(baseline)
#if defined(__x86_64__)
COEUS_DECLARE_CAPABILITY(avx2)
COEUS_DECLARE_CAPABILITY(avx512)
// Beyond avx512 only attention in bfloat16 differs.
namespace avx512_bf16 {
const CpuAttentionKernels<BFloat16>& bfloat16_attention();
}
namespace amx {
const CpuAttentionKernels<BFloat16>& bfloat16_attention();
}
#endif

namespace {

enum class Capability { kBaseline, kAvx2, kAvx512, kAvx512Bf16, kAmx };
constexpr const char* kNames[] = {"baseline", "avx2", "avx512", "avx512_bf16", "amx"};

#if defined(__x86_64__)
/// Whether the CPU has AMX in bfloat16 and the kernel lets this process use its registers, for
/// which Linux wants to be asked.
bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kAmxBf16 = 1U << 22;
  constexpr unsigned kAmxTile = 1U << 24;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d & kAmxBf16) == 0 || (d & kAmxTile) == 0) return false;
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

Capability detect() {
  Capability best = Capability::kBaseline;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = Capability::kAvx2;
  if (best == Capability::kAvx2 && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    best = Capability::kAvx512;
  if (best == Capability::kAvx512 && __builtin_cpu_supports("avx512bf16"))
    best = Capability::kAvx512Bf16;
  if (best == Capability::kAvx512Bf16 && has_amx()) best = Capability::kAmx;
#endif
  const char* asked = std::getenv("COEUS_CPU_CAPABILITY");
  if (asked == nullptr) return best;
  for (int i = 0; i <= static_cast<int>(best); ++i)
    if (std::string_view(asked) == kNames[i]) return static_cast<Capability>(i);
  throw ConfigError(
      fmt::format("[COEUS_CPU_CAPABILITY] \"{}\" is none of the instruction sets of this CPU: {}",
                  asked, fmt::join(kNames, kNames + static_cast<int>(best) + 1, ", ")));
}

Capability capability() {
  static const Capability value = detect();
  return value;
}

}  // namespace

#if defined(__x86_64__)
#define COEUS_PICK(table)                                \
  (capability() >= Capability::kAvx512 ? avx512::table() \
   : capability() == Capability::kAvx2 ? avx2::table()   \
                                       : baseline::table())
#else
#define COEUS_PICK(table) baseline::table()
#endif

template <>
const CpuKernels<float>& cpu_kernels<float>() {
  return COEUS_PICK(float_kernels);
}
template <>
const CpuKernels<BFloat16>& cpu_kernels<BFloat16>() {
  return COEUS_PICK(bfloat16_kernels);
}
template <>
const CpuAttentionKernels<float>& cpu_attention_kernels<float>() {
  return COEUS_PICK(float_attention);
}
template <>
const CpuAttentionKernels<double>& cpu_attention_kernels<double>() {
  return COEUS_PICK(double_attention);
}
template <>
const CpuAttentionKernels<BFloat16>& cpu_attention_kernels<BFloat16>() {
#if defined(__x86_64__)
  if (capability() == Capability::kAmx) return amx::bfloat16_attention();
  if (capability() == Capability::kAvx512Bf16) return avx512_bf16::bfloat16_attention();
#endif
  return COEUS_PICK(bfloat16_attention);
}

bool cpu_has_avx512() { return capability() >= Capability::kAvx512; }

const char* cpu_capability() { return kNames[static_cast<int>(capability())]; }

}  // namespace coeus
