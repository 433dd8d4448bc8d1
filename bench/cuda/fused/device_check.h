// What the checks of fused kernels share: guarded memory of the device, random values, comparison.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/element_type.h"

namespace coeus::cuda {

using BFloat16 = __nv_bfloat16;
using Half = __half;

template <class T>
constexpr ElementType kType = std::is_same_v<T, float>      ? ElementType::kFloat32
                              : std::is_same_v<T, BFloat16> ? ElementType::kBFloat16
                                                            : ElementType::kFloat16;
template <class T>
constexpr const char* kTypeName = std::is_same_v<T, float>      ? "float32"
                                  : std::is_same_v<T, BFloat16> ? "bfloat16"
                                                                : "float16";
/// A little more than half a unit in the last place; for float32 what sums of kernels lose.
template <class T>
constexpr double kRounding = std::is_same_v<T, float>      ? 2e-5
                             : std::is_same_v<T, BFloat16> ? 1.05 / 256
                                                           : 1.05 / 2048;

inline double value(float x) { return x; }
inline double value(BFloat16 x) { return __bfloat162float(x); }
inline double value(Half x) { return __half2float(x); }
template <class T>
T narrow(double x) {
  if constexpr (std::is_same_v<T, BFloat16>)
    return __float2bfloat16_rn(static_cast<float>(x));
  else if constexpr (std::is_same_v<T, Half>)
    return __float2half_rn(static_cast<float>(x));
  else
    return static_cast<T>(x);
}

/// What came of one kernel's cases.
class Report {
 public:
  explicit Report(const char* kernel) : kernel_(kernel) {}
  ~Report() {
    std::printf("%-32s %5d checks, %d failed\n", kernel_, checks_, failures_);
    total_failures += failures_;
  }
  void expect(bool holds, const std::string& what) {
    ++checks_;
    if (holds) return;
    if (++failures_ <= 12) std::printf("%s FAILED: %s\n", kernel_, what.c_str());
  }
  static inline int total_failures = 0;

 private:
  const char* kernel_;
  int checks_ = 0;
  int failures_ = 0;
};

template <class... Args>
std::string text(const char* format, Args... args) {
  char line[512];
  std::snprintf(line, sizeof(line), format, args...);
  return line;
}

/// Memory of the device that notices writes past its ends. Begins `offset` elements after a
/// multiple of 256 bytes.
template <class T>
class Device {
 public:
  explicit Device(size_t n, int offset = 0) : n_(n), begin_(kGuard + offset * sizeof(T)) {
    bytes_ = begin_ + n * sizeof(T) + kGuard;
    check(cudaMalloc(&memory_, bytes_), "cudaMalloc");
    check(cudaMemset(memory_, kPattern, bytes_), "cudaMemset");
  }
  explicit Device(const std::vector<T>& from, int offset = 0) : Device(from.size(), offset) {
    check(cudaMemcpy(get(), from.data(), n_ * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  ~Device() { cudaFree(memory_); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  T* get() const { return reinterpret_cast<T*>(memory_ + begin_); }
  std::vector<T> read(Report& report, const std::string& what) const {
    std::vector<unsigned char> all(bytes_);
    check(cudaMemcpy(all.data(), memory_, bytes_, cudaMemcpyDeviceToHost), "cudaMemcpy");
    const size_t end = begin_ + n_ * sizeof(T);
    const auto is_pattern = [](unsigned char c) { return c == kPattern; };
    report.expect(std::all_of(all.begin(), all.begin() + begin_, is_pattern) &&
                      std::all_of(all.begin() + end, all.end(), is_pattern),
                  what + ": wrote outside its result");
    std::vector<T> out(n_);
    std::memcpy(static_cast<void*>(out.data()), all.data() + begin_, n_ * sizeof(T));
    return out;
  }

 private:
  static constexpr size_t kGuard = 1024;
  static constexpr unsigned char kPattern = 0xA5;
  unsigned char* memory_ = nullptr;
  size_t n_;
  size_t begin_;
  size_t bytes_ = 0;
};

/// |got - want| <= rounding * |want| + absolute[i] everywhere; NaN where NaN is wanted.
template <class T, class Absolute>
void compare_within(Report& report, const std::string& what, const std::vector<T>& got,
                    const std::vector<double>& want, double rounding, Absolute absolute) {
  size_t wrong = 0, first = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double x = value(got[i]);
    const bool right = std::isnan(want[i])
                           ? std::isnan(x)
                           : std::abs(x - want[i]) <= rounding * std::abs(want[i]) + absolute(i);
    if (right) continue;
    if (wrong++ == 0) first = i;
  }
  report.expect(
      wrong == 0,
      what + (wrong == 0 ? std::string()
                         : text(": %zu of %zu wrong, the first at %zu: %.9g, not %.9g", wrong,
                                want.size(), first, value(got[first]), want[first])));
}
template <class T>
void compare(Report& report, const std::string& what, const std::vector<T>& got,
             const std::vector<double>& want, double absolute = 1e-5) {
  compare_within(report, what, got, want, kRounding<T>, [&](size_t) { return absolute; });
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return std::memcmp(static_cast<const void*>(a.data()), static_cast<const void*>(b.data()),
                     a.size() * sizeof(T)) == 0;
}

inline std::mt19937 random_bits(1);

template <class T>
std::vector<T> normal(size_t n, double deviation = 1, double mean = 0) {
  static const std::vector<float> pool = [] {
    std::normal_distribution<float> distribution;
    std::vector<float> out((1 << 20) + 7);
    for (float& x : out) x = distribution(random_bits);
    return out;
  }();
  std::vector<T> out(n);
  size_t at = random_bits() % pool.size();
  for (T& x : out) {
    x = narrow<T>(mean + deviation * pool[at]);
    if (++at == pool.size()) at = 0;
  }
  return out;
}

inline void wait() { check(cudaDeviceSynchronize(), "a kernel"); }

}  // namespace coeus::cuda
