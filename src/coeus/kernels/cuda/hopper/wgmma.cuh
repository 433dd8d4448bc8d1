// Matrix products of a warpgroup (wgmma), and the shared memory tiles that they read.
//
// A warpgroup (128 threads) multiplies a [64, 16 k] operand by a [16 k, N] one. In the accumulator,
// and likewise in an operand held in registers, thread t of the warpgroup has of the 64 rows the
// two row_of(t) and row_of(t) + 8, and of every 8 columns the two that begin at column_of(t):
// element 4 j + 2 r + c stands at row row_of(t) + 8 r and column 8 j + column_of(t) + c.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace coeus::hopper {

constexpr int kWarpgroupThreads = 128;

/// Of the accumulator's rows this thread's first; the second is 8 further.
__device__ __forceinline__ int row_of(int thread) {
  return (thread / 32) % 4 * 16 + (thread % 32) / 4;
}
/// Of every 8 columns this thread's first.
__device__ __forceinline__ int column_of(int thread) { return thread % 4 * 2; }

/// Where an operand begins in shared memory and how its 8 x 16 byte cells follow: the 64 bits that
/// wgmma takes for a tile that TMA wrote with 128-byte swizzling. Such a tile consists of panels
/// that are 64 elements (128 bytes) wide, each with all rows, one panel after another; a panel
/// begins at a multiple of 1024 bytes.
struct Operand {
  uint64_t bits;
  /// The same, `bytes` further (a multiple of 16): 32 for the next 16 columns of a panel, 2048 for
  /// the next 16 rows.
  __device__ __forceinline__ Operand at(uint32_t bytes) const { return {bits + (bytes >> 4)}; }
};

/// An operand whose rows run along the product's M or N, and whose columns are summed over.
__device__ __forceinline__ Operand row_operand(uint32_t shared) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return {kSwizzle128 | (uint64_t{1024 >> 4} << 32) | (uint64_t{1} << 16) |
          ((shared & 0x3FFFF) >> 4)};
}
/// An operand whose columns run along the product's M or N, and whose rows are summed over; panels
/// lie panel_bytes apart.
__device__ __forceinline__ Operand column_operand(uint32_t shared, uint32_t panel_bytes) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return {kSwizzle128 | (uint64_t{1024 >> 4} << 32) | (uint64_t{panel_bytes >> 4} << 16) |
          ((shared & 0x3FFFF) >> 4)};
}

/// Whether an operand's columns, in place of its rows, run along M or N.
enum class Along { kRows = 0, kColumns = 1 };

/// Orders registers that wgmma reads or adds to before the products that follow.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
/// Closes the group of all products issued since the last group.
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most `kPending` groups are unfinished.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
/// Keeps the compiler from moving accesses to an accumulator over this point.
template <int kSize>
__device__ __forceinline__ void pin(float (&accumulator)[kSize]) {
#pragma unroll
  for (int i = 0; i < kSize; ++i) asm volatile("" : "+f"(accumulator[i])::"memory");
}

/// The same for an operand in registers; after wgmma_wait, also keeps them until then.
template <int kSize>
__device__ __forceinline__ void pin(uint32_t (&operand)[kSize]) {
#pragma unroll
  for (int i = 0; i < kSize; ++i) asm volatile("" : "+r"(operand[i])::"memory");
}

template <class Element, int kColumns>
struct Wgmma;

// PTX names the accumulator's registers one by one: these lists are their names (%0, %1, ...) and
// the elements that stand for them, sixteen at a time.
// clang-format off
#define COEUS_NAMES_0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define COEUS_NAMES_16 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define COEUS_NAMES_32 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define COEUS_NAMES_48 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define COEUS_NAMES_64 "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define COEUS_NAMES_80 "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define COEUS_NAMES_96 "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define COEUS_NAMES_112 "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define COEUS_ELEMENTS_4(i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define COEUS_ELEMENTS(i) COEUS_ELEMENTS_4(i), COEUS_ELEMENTS_4((i) + 4), COEUS_ELEMENTS_4((i) + 8), COEUS_ELEMENTS_4((i) + 12)
#define COEUS_NAMES_TO_16 COEUS_NAMES_0
#define COEUS_ELEMENTS_TO_16 COEUS_ELEMENTS(0)
#define COEUS_NAMES_TO_32 COEUS_NAMES_0 ", " COEUS_NAMES_16
#define COEUS_ELEMENTS_TO_32 COEUS_ELEMENTS(0), COEUS_ELEMENTS(16)
#define COEUS_NAMES_TO_48 COEUS_NAMES_0 ", " COEUS_NAMES_16 ", " COEUS_NAMES_32
#define COEUS_ELEMENTS_TO_48 COEUS_ELEMENTS(0), COEUS_ELEMENTS(16), COEUS_ELEMENTS(32)
#define COEUS_NAMES_TO_64 COEUS_NAMES_0 ", " COEUS_NAMES_16 ", " COEUS_NAMES_32 ", " COEUS_NAMES_48
#define COEUS_ELEMENTS_TO_64 COEUS_ELEMENTS(0), COEUS_ELEMENTS(16), COEUS_ELEMENTS(32), COEUS_ELEMENTS(48)
#define COEUS_NAMES_TO_96 COEUS_NAMES_0 ", " COEUS_NAMES_16 ", " COEUS_NAMES_32 ", " COEUS_NAMES_48 ", " COEUS_NAMES_64 ", " COEUS_NAMES_80
#define COEUS_ELEMENTS_TO_96 COEUS_ELEMENTS(0), COEUS_ELEMENTS(16), COEUS_ELEMENTS(32), COEUS_ELEMENTS(48), COEUS_ELEMENTS(64), COEUS_ELEMENTS(80)
#define COEUS_NAMES_TO_128 COEUS_NAMES_0 ", " COEUS_NAMES_16 ", " COEUS_NAMES_32 ", " COEUS_NAMES_48 ", " COEUS_NAMES_64 ", " COEUS_NAMES_80 ", " COEUS_NAMES_96 ", " COEUS_NAMES_112
#define COEUS_ELEMENTS_TO_128 COEUS_ELEMENTS(0), COEUS_ELEMENTS(16), COEUS_ELEMENTS(32), COEUS_ELEMENTS(48), COEUS_ELEMENTS(64), COEUS_ELEMENTS(80), COEUS_ELEMENTS(96), COEUS_ELEMENTS(112)
// clang-format on

/// The instruction for one N = 2 x kSize and one type. p0 to p6 are the numbers of the operands
/// that follow the accumulator's kSize.
#define COEUS_WGMMA(Element, type, columns, kSize, p0, p1, p2, p3, p4, p5, p6)                   \
  template <>                                                                                    \
  struct Wgmma<Element, columns> {                                                               \
    template <Along kA, Along kB>                                                                \
    __device__ __forceinline__ static void run(float (&d)[kSize], Operand a, Operand b,          \
                                               bool add) {                                       \
      asm volatile("{.reg .pred p; setp.ne.b32 p, %" #p2                                         \
                   ", 0; wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type "." type    \
                   " {" COEUS_NAMES_TO_##kSize "}, %" #p0 ", %" #p1 ", p, 1, 1, %" #p3 ", %" #p4 \
                                               ";}"                                              \
                   : COEUS_ELEMENTS_TO_##kSize                                                   \
                   : "l"(a.bits), "l"(b.bits), "r"(static_cast<int>(add)),                       \
                     "n"(static_cast<int>(kA)), "n"(static_cast<int>(kB)));                      \
    }                                                                                            \
    template <Along kB>                                                                          \
    __device__ __forceinline__ static void run(float (&d)[kSize], const uint32_t* a, Operand b,  \
                                               bool add) {                                       \
      asm volatile("{.reg .pred p; setp.ne.b32 p, %" #p5                                         \
                   ", 0; wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type "." type    \
                   " {" COEUS_NAMES_TO_##kSize "}, {%" #p0 ", %" #p1 ", %" #p2 ", %" #p3         \
                                               "}, %" #p4 ", p, 1, 1, %" #p6 ";}"                \
                   : COEUS_ELEMENTS_TO_##kSize                                                   \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits),                    \
                     "r"(static_cast<int>(add)), "n"(static_cast<int>(kB)));                     \
    }                                                                                            \
  };
#define COEUS_WGMMA_TYPES(columns, kSize, ...)                    \
  COEUS_WGMMA(__nv_bfloat16, "bf16", columns, kSize, __VA_ARGS__) \
  COEUS_WGMMA(__half, "f16", columns, kSize, __VA_ARGS__)
COEUS_WGMMA_TYPES(32, 16, 16, 17, 18, 19, 20, 21, 22)
COEUS_WGMMA_TYPES(64, 32, 32, 33, 34, 35, 36, 37, 38)
COEUS_WGMMA_TYPES(96, 48, 48, 49, 50, 51, 52, 53, 54)
COEUS_WGMMA_TYPES(128, 64, 64, 65, 66, 67, 68, 69, 70)
COEUS_WGMMA_TYPES(192, 96, 96, 97, 98, 99, 100, 101, 102)
COEUS_WGMMA_TYPES(256, 128, 128, 129, 130, 131, 132, 133, 134)
#undef COEUS_WGMMA_TYPES
#undef COEUS_WGMMA

/// d = a b + (add ? d : 0), of which the warpgroup knows after wgmma_wait. kColumns is N.
template <class Element, int kColumns, Along kA, Along kB>
__device__ __forceinline__ void wgmma(float (&d)[kColumns / 2], Operand a, Operand b, bool add) {
  Wgmma<Element, kColumns>::template run<kA, kB>(d, a, b, add);
}
/// The same with [64, 16] of a in registers: a[0] to a[3] hold the elements 0-1, 2-3, 4-5 and 6-7
/// of this thread's part.
template <class Element, int kColumns, Along kB>
__device__ __forceinline__ void wgmma(float (&d)[kColumns / 2], const uint32_t* a, Operand b,
                                      bool add) {
  Wgmma<Element, kColumns>::template run<kB>(d, a, b, add);
}

/// Two floats, rounded to Element, in one register: the first in the low half.
template <class Element>
__device__ __forceinline__ uint32_t packed(float low, float high) {
  uint32_t both;
  if constexpr (std::is_same_v<Element, __half>)
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  else
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
}

}  // namespace coeus::hopper
