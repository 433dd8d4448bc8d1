// Checks the fused kernels on a GPU against loops in double on the host, and with --time measures
// them. Prints a line a kernel, and what failed.
//
//   K=src/coeus/kernels/cuda; nvcc -std=c++20 -O3 -lineinfo --expt-relaxed-constexpr -I src
//     -gencode=arch=compute_80,code=[compute_80,sm_80] -gencode=arch=compute_90,code=sm_90
//     bench/cuda/fused_device_check.cu $K/rms_norm.cu $K/rope.cu $K/swiglu.cu $K/cross_entropy.cu
//     -o fused_device_check
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "coeus/base/ignored_label.h"
#include "coeus/kernels/cuda/check.h"
#include "coeus/kernels/cuda/cross_entropy.h"
#include "coeus/kernels/cuda/rms_norm.h"
#include "coeus/kernels/cuda/rope.h"
#include "coeus/kernels/cuda/swiglu.h"

namespace coeus::cuda {
namespace {

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

double value(float x) { return x; }
double value(BFloat16 x) { return __bfloat162float(x); }
double value(Half x) { return __half2float(x); }
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

std::mt19937 random_bits(1);

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

void wait() { check(cudaDeviceSynchronize(), "a kernel"); }

// RMSNorm

/// x of T, a weight of W, out and its gradient of O.
template <class T, class W, class O = T>
void check_rms_norm(Report& forward, Report& backward, int64_t rows, int dim, int offset) {
  const float eps = 1e-5F;
  const size_t n = rows * dim;
  const std::vector<T> x = normal<T>(n), residual = normal<T>(n), grad_sum = normal<T>(n);
  const std::vector<O> grad = normal<O>(n);
  const std::vector<W> weight = normal<W>(dim, 0.1, 1);
  const std::string shape =
      text("%s to %s, weight %s, rows %lld, dim %d, offset %d", kTypeName<T>, kTypeName<O>,
           kTypeName<W>, static_cast<long long>(rows), dim, offset);
  const Device<T> device_x(x, offset), device_residual(residual, offset),
      device_grad_sum(grad_sum, offset);
  const Device<O> device_grad(grad, offset);
  const Device<W> device_weight(weight, offset);

  for (bool add : {false, true}) {
    const std::string what = shape + (add ? ", residual" : "");
    std::vector<T> normed(n);
    std::vector<double> sum(n), out(n), inverse(rows), grad_x(n), grad_weight(dim), magnitude(dim),
        row_magnitude(rows);
    for (int64_t r = 0; r < rows; ++r) {
      double squares = 0, dot = 0;
      for (int i = 0; i < dim; ++i) {
        const size_t at = r * dim + i;
        normed[at] = add ? narrow<T>(value(x[at]) + value(residual[at])) : x[at];
        sum[at] = value(normed[at]);
        squares += sum[at] * sum[at];
        dot += sum[at] * value(grad[at]) * value(weight[i]);
      }
      inverse[r] = 1 / std::sqrt(squares / dim + eps);
      for (int i = 0; i < dim; ++i) {
        const size_t at = r * dim + i;
        out[at] = sum[at] * inverse[r] * value(weight[i]);
        grad_x[at] =
            (value(grad[at]) * value(weight[i]) - sum[at] * dot * inverse[r] * inverse[r] / dim) *
                inverse[r] +
            (add ? value(grad_sum[at]) : 0);
        const double share = value(grad[at]) * sum[at] * inverse[r];
        grad_weight[i] += share;
        magnitude[i] += std::abs(share);
      }
      row_magnitude[r] = 1e-5 * (1 + inverse[r] * 20);
    }

    const Device<T> device_sum(n, offset), in_place(x, offset);
    const Device<O> device_out(n, offset), out_again(n, offset);
    const Device<float> device_inverse(rows);
    RmsNormForward work{.type = kType<T>,
                        .out_type = kType<O>,
                        .weight_type = kType<W>,
                        .x = device_x.get(),
                        .residual = add ? device_residual.get() : nullptr,
                        .weight = device_weight.get(),
                        .sum = add ? device_sum.get() : nullptr,
                        .out = device_out.get(),
                        .inverse_rms = device_inverse.get(),
                        .rows = rows,
                        .dim = dim,
                        .eps = eps};
    rms_norm_forward(work, nullptr);
    // The sum over x, or out over x where their types are one.
    work.x = in_place.get();
    work.out = out_again.get();
    if (add) work.sum = in_place.get();
    if (!add && std::is_same_v<T, O>) work.out = in_place.get();
    if (std::is_same_v<T, O>) work.out_type.reset();
    rms_norm_forward(work, nullptr);
    wait();
    const std::vector<O> got_out = device_out.read(forward, what);
    compare(forward, what + ", out", got_out, out);
    compare(forward, what + ", inverse", device_inverse.read(forward, what), inverse);
    if (add) forward.expect(same_bits(device_sum.read(forward, what), normed), what + ", sum");
    const std::vector<T> overwritten = in_place.read(forward, what);
    bool same = true;
    if (add || !std::is_same_v<T, O>)
      same = same_bits(overwritten, normed) && same_bits(out_again.read(forward, what), got_out);
    else if constexpr (std::is_same_v<T, O>)
      same = same_bits(overwritten, got_out);
    forward.expect(same, what + ", in place");

    const Device<T> normed_again(normed, offset), device_grad_x(n, offset), over_x(normed, offset),
        over_grad_sum(grad_sum, offset);
    const Device<O> over_grad_out(grad, offset);
    const Device<float> device_grad_weight(dim), grad_weight_again(dim);
    const Device<char> scratch(rms_norm_backward_scratch_bytes(kType<T>, rows, dim));
    RmsNormBackward gradient{.type = kType<T>,
                             .out_type = kType<O>,
                             .weight_type = kType<W>,
                             .grad_out = device_grad.get(),
                             .grad_sum = add ? device_grad_sum.get() : nullptr,
                             .x = normed_again.get(),
                             .weight = device_weight.get(),
                             .inverse_rms = device_inverse.get(),
                             .grad_x = device_grad_x.get(),
                             .grad_weight = device_grad_weight.get(),
                             .scratch = scratch.get(),
                             .rows = rows,
                             .dim = dim};
    rms_norm_backward(gradient, nullptr);
    wait();
    const std::vector<T> got = device_grad_x.read(backward, what);
    const std::vector<float> of_weight = device_grad_weight.read(backward, what);
    compare_within(backward, what + ", grad_x", got, grad_x, kRounding<T>,
                   [&](size_t i) { return row_magnitude[i / dim]; });
    compare_within(backward, what + ", grad_weight", of_weight, grad_weight, 1e-6,
                   [&](size_t i) { return 1e-6 + 2e-6 * magnitude[i]; });

    const auto again = [&](RmsNormBackward in_place_work, const Device<T>& grad_x_again,
                           const char* where) {
      in_place_work.grad_x = grad_x_again.get();
      in_place_work.grad_weight = grad_weight_again.get();
      rms_norm_backward(in_place_work, nullptr);
      wait();
      backward.expect(same_bits(got, grad_x_again.read(backward, what)) &&
                          same_bits(of_weight, grad_weight_again.read(backward, what)),
                      what + where);
    };
    RmsNormBackward in_place_work = gradient;
    in_place_work.x = over_x.get();
    again(in_place_work, over_x, ", over x");
    if (add) {
      in_place_work = gradient;
      in_place_work.grad_sum = over_grad_sum.get();
      again(in_place_work, over_grad_sum, ", over grad_sum");
    }
    if constexpr (std::is_same_v<T, O>) {
      in_place_work = gradient;
      in_place_work.out_type.reset();
      in_place_work.grad_out = over_grad_out.get();
      again(in_place_work, over_grad_out, ", over grad_out");
    }
    scratch.read(backward, what + ", scratch");
    const Device<T> without_weight(n, offset);
    gradient.grad_x = without_weight.get();
    gradient.grad_weight = nullptr;
    gradient.scratch = nullptr;
    rms_norm_backward(gradient, nullptr);
    wait();
    backward.expect(same_bits(got, without_weight.read(backward, what)),
                    what + ", without the weight's gradient");
  }
}

void check_rms_norm_types(Report& report) {
  constexpr ElementType kTypes[] = {ElementType::kFloat32, ElementType::kBFloat16,
                                    ElementType::kFloat16};
  const auto throws = [](const auto& run) {
    try {
      run();
    } catch (const std::runtime_error&) {
      return true;
    }
    return false;
  };
  const Device<float> memory(std::vector<float>(64, 1.F)), out(64), inverse(1);
  for (ElementType type : kTypes)
    for (ElementType out_type : kTypes)
      for (ElementType weight_type : kTypes) {
        const bool taken = (type == out_type && weight_type == type) ||
                           (weight_type == ElementType::kFloat32 &&
                            (type == out_type || type == ElementType::kFloat32));
        const std::string what = text("types %d, %d, %d", static_cast<int>(type),
                                      static_cast<int>(out_type), static_cast<int>(weight_type));
        report.expect(taken != throws([&] {
                        rms_norm_forward({.type = type,
                                          .out_type = out_type,
                                          .weight_type = weight_type,
                                          .x = memory.get(),
                                          .weight = memory.get(),
                                          .out = out.get(),
                                          .inverse_rms = inverse.get(),
                                          .rows = 1,
                                          .dim = 64},
                                         nullptr);
                      }),
                      what + ", forward");
        report.expect(taken != throws([&] {
                        rms_norm_backward({.type = type,
                                           .out_type = out_type,
                                           .weight_type = weight_type,
                                           .grad_out = memory.get(),
                                           .x = memory.get(),
                                           .weight = memory.get(),
                                           .inverse_rms = inverse.get(),
                                           .grad_x = out.get(),
                                           .rows = 1,
                                           .dim = 64},
                                          nullptr);
                      }),
                      what + ", backward");
      }
  wait();
}

void check_rms_norms() {
  Report forward("rms_norm_forward"), backward("rms_norm_backward");
  for (int dim : {1,    8,    17,   64,   72,   128,  129,  256,  512,   520,   1000,  1024, 1536,
                  2048, 2056, 3584, 4096, 5120, 7168, 8192, 8200, 16384, 16392, 20000, 40000})
    for (int64_t rows : {1, 3, 37, 700})
      if (rows * dim <= 1'500'000)
        check_rms_norm<BFloat16, BFloat16>(forward, backward, rows, dim, 0);
  for (int dim : {8, 17, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 12288, 13312, 16384, 16388}) {
    check_rms_norm<float, float>(forward, backward, 21, dim, 0);
    check_rms_norm<BFloat16, float>(forward, backward, 21, dim, 0);
    check_rms_norm<Half, Half>(forward, backward, 21, dim, 0);
    check_rms_norm<Half, float>(forward, backward, 21, dim, 0);
    check_rms_norm<float, float, Half>(forward, backward, 21, dim, 0);
  }
  for (int dim : {1,    4,    6,    17,   64,   68,   128,  132,   256,   512,   1000,  1024,
                  1536, 2048, 2052, 3584, 4096, 5120, 8192, 12288, 13316, 16384, 16388, 40000})
    for (int64_t rows : {1, 3, 37, 700})
      if (rows * dim <= 1'500'000)
        check_rms_norm<float, float, BFloat16>(forward, backward, rows, dim, 0);
  for (int dim : {64, 128, 1000, 2048}) {
    check_rms_norm<BFloat16, BFloat16>(forward, backward, 33, dim, 1);
    check_rms_norm<float, float>(forward, backward, 33, dim, 1);
    check_rms_norm<float, float, BFloat16>(forward, backward, 33, dim, 1);
    // Inputs at multiples of 16 bytes, out at one of 8.
    check_rms_norm<float, float, BFloat16>(forward, backward, 33, dim, 4);
  }
  // More rows than blocks at once.
  check_rms_norm<BFloat16, BFloat16>(forward, backward, 70'001, 64, 0);
  check_rms_norm<BFloat16, BFloat16>(forward, backward, 40'003, 128, 0);
  check_rms_norm<BFloat16, float>(forward, backward, 3'001, 2048, 0);
  check_rms_norm<BFloat16, BFloat16>(forward, backward, 301, 16384, 0);
  check_rms_norm<float, float, BFloat16>(forward, backward, 40'003, 128, 0);
  check_rms_norm<float, float, BFloat16>(forward, backward, 3'001, 2048, 0);
  check_rms_norm<float, float, BFloat16>(forward, backward, 301, 16384, 0);
  // More blocks than float32 to float32 has.
  check_rms_norm<float, float, BFloat16>(forward, backward, 1'601, 4612, 0);
  check_rms_norm_types(forward);
}

// Rotary position embedding

template <class T>
void check_rope(Report& report, int64_t tokens, int heads, int key_heads, int dim, bool halves,
                float sign, int padding, bool in_place) {
  const int positions = 97;
  std::vector<float> table(static_cast<size_t>(positions) * dim);
  for (size_t i = 0; i < table.size() / 2; ++i) {
    table[2 * i] = std::cos(0.37F * static_cast<float>(i));
    table[2 * i + 1] = std::sin(0.37F * static_cast<float>(i));
  }
  std::vector<int32_t> at(tokens);
  for (int32_t& p : at) p = static_cast<int32_t>(random_bits() % positions);
  const bool bad = tokens > 3;
  if (bad) {
    at[1] = -1;
    at[2] = positions;
  }
  const Device<float> device_table(table);
  const Device<int32_t> device_positions(at);
  const Device<int> flag(std::vector<int>{0});
  Rope work{.type = kType<T>,
            .halves = halves,
            .sign = sign,
            .head_dim = dim,
            .tokens = tokens,
            .table = device_table.get(),
            .table_positions = positions,
            .positions = device_positions.get(),
            .bad_position = flag.get()};
  const int head_counts[2] = {heads, key_heads};
  const int64_t head_stride = dim + padding;
  const int64_t token_strides[2] = {heads * head_stride + 2 * padding,
                                    key_heads * head_stride + 2 * padding};
  std::vector<T> in[2];
  std::vector<double> want[2];
  for (int t = 0; t < 2; ++t) {
    const int64_t token_stride = token_strides[t];
    in[t] = normal<T>(tokens * token_stride);
    // What lies between heads must stay.
    for (const T& x : in[t]) want[t].push_back(value(x));
    for (int64_t token = 0; token < tokens; ++token)
      for (int h = 0; h < head_counts[t]; ++h)
        for (int i = 0; i < dim / 2; ++i) {
          double* const head = want[t].data() + token * token_stride + h * head_stride;
          double& a = halves ? head[i] : head[2 * i];
          double& b = halves ? head[i + dim / 2] : head[2 * i + 1];
          const int p = at[token];
          const bool outside = p < 0 || p >= positions;
          const double c = outside ? NAN : table[static_cast<size_t>(p) * dim + 2 * i];
          const double s = outside ? NAN : sign * table[static_cast<size_t>(p) * dim + 2 * i + 1];
          const double turned = a * c - b * s;
          b = a * s + b * c;
          a = turned;
        }
  }
  const Device<T> x0(in[0]), x1(in[1]), out0(in[0]), out1(in[1]);
  const Device<T>* const x[2] = {&x0, &x1};
  const Device<T>* const out[2] = {in_place ? &x0 : &out0, in_place ? &x1 : &out1};
  for (int t = 0; t < 2; ++t) {
    work.tensors[t] = {.x = x[t]->get(),
                       .x_token_stride = token_strides[t],
                       .x_head_stride = head_stride,
                       .out = out[t]->get(),
                       .out_token_stride = token_strides[t],
                       .out_head_stride = head_stride,
                       .heads = head_counts[t]};
  }
  rope(work, nullptr);
  wait();
  const std::string what =
      text("%s, tokens %lld, heads %d and %d, dim %d, %s, sign %g, padding %d%s", kTypeName<T>,
           static_cast<long long>(tokens), heads, key_heads, dim, halves ? "halves" : "interleaved",
           sign, padding, in_place ? ", in place" : "");
  for (int t = 0; t < 2; ++t)
    compare(report, what + text(", tensor %d", t), out[t]->read(report, what), want[t], 1e-6);
  report.expect(flag.read(report, what)[0] == (bad ? 1 : 0), what + ", flag");
}

void check_ropes() {
  Report report("rope");
  for (bool halves : {false, true})
    for (int dim : {2, 6, 8, 16, 64, 80, 96, 128, 256, 576})
      for (auto [heads, key_heads] : {std::pair{1, 0}, {3, 2}, {32, 8}, {128, 1}})
        for (int padding : {0, 1, 16}) {
          const float sign = (dim + heads) % 3 == 0 ? -1.F : 1.F;
          check_rope<BFloat16>(report, 7, heads, key_heads, dim, halves, sign, padding, false);
          if (heads == 128) continue;
          check_rope<float>(report, 1, heads, key_heads, dim, halves, -sign, padding, true);
          check_rope<Half>(report, 33, heads, key_heads, dim, halves, sign, padding, true);
        }
}

// SwiGLU

template <class T>
void check_swiglu(Report& forward, Report& backward, int64_t n, int offset) {
  std::vector<T> gate = normal<T>(n, 4), up = normal<T>(n), grad = normal<T>(n);
  const double extreme[] = {0, -1e4, 1e4, -88, 88, -104, 104};
  for (int64_t i = 0; i < std::min<int64_t>(n, 7); ++i) gate[i] = narrow<T>(extreme[i]);
  std::vector<double> out(n), grad_gate(n), grad_up(n);
  for (int64_t i = 0; i < n; ++i) {
    const double g = value(gate[i]), u = value(up[i]), s = 1 / (1 + std::exp(-g));
    out[i] = g * s * u;
    grad_gate[i] = value(grad[i]) * u * (s + g * s * (1 - s));
    grad_up[i] = value(grad[i]) * g * s;
  }
  const std::string what =
      text("%s, n %lld, offset %d", kTypeName<T>, static_cast<long long>(n), offset);
  const Device<T> device_gate(gate, offset), device_up(up, offset), device_grad(grad, offset);
  const Device<T> device_out(n, offset), in_place(gate, offset);
  swiglu_forward({kType<T>, device_gate.get(), device_up.get(), device_out.get(), n}, nullptr);
  swiglu_forward({kType<T>, in_place.get(), device_up.get(), in_place.get(), n}, nullptr);
  const Device<T> device_grad_gate(n, offset), device_grad_up(n, offset);
  swiglu_backward({kType<T>, device_grad.get(), device_gate.get(), device_up.get(),
                   device_grad_gate.get(), device_grad_up.get(), n},
                  nullptr);
  swiglu_backward({kType<T>, device_grad.get(), device_gate.get(), device_up.get(),
                   device_gate.get(), device_up.get(), n},
                  nullptr);
  wait();
  const std::vector<T> got = device_out.read(forward, what);
  compare(forward, what, got, out, 1e-6);
  forward.expect(same_bits(got, in_place.read(forward, what)), what + ", in place");
  const std::vector<T> of_gate = device_grad_gate.read(backward, what),
                       of_up = device_grad_up.read(backward, what);
  compare(backward, what + ", grad_gate", of_gate, grad_gate, 4e-6);
  compare(backward, what + ", grad_up", of_up, grad_up, 4e-6);
  backward.expect(same_bits(of_gate, device_gate.read(backward, what)) &&
                      same_bits(of_up, device_up.read(backward, what)),
                  what + ", in place");
}

void check_swiglus() {
  Report forward("swiglu_forward"), backward("swiglu_backward");
  for (int64_t n : {1, 7, 8, 9, 33, 4096, 4099, 100'003, 1 << 20})
    for (int offset : {0, 1}) {
      check_swiglu<float>(forward, backward, n, offset);
      check_swiglu<BFloat16>(forward, backward, n, offset);
      check_swiglu<Half>(forward, backward, n, offset);
    }
}

// Cross entropy

template <class T>
void check_cross_entropy(Report& forward, Report& backward, Report& both, int64_t rows, int vocab,
                         int offset, double deviation) {
  const std::string what = text("%s, rows %lld, vocab %d, offset %d, deviation %g", kTypeName<T>,
                                static_cast<long long>(rows), vocab, offset, deviation);
  std::vector<T> logits = normal<T>(rows * vocab, deviation, deviation > 100 ? 500 : 0);
  std::vector<int64_t> labels(rows);
  for (int64_t& label : labels) label = static_cast<int64_t>(random_bits() % vocab);
  labels.back() = vocab - 1;
  const bool bad = rows > 6;
  if (rows > 2) labels[1] = kIgnoredLabel;
  if (bad) {
    labels[2] = vocab;
    labels[3] = -1;
    // A row that begins with -inf, and one that holds no number.
    for (int i = 0; i < vocab - 1; ++i) logits[4 * vocab + i] = narrow<T>(-INFINITY);
    labels[4] = vocab - 1;
    logits[5 * vocab + vocab / 2] = narrow<T>(NAN);
  }
  const float scale = 1.F / 64;
  std::vector<double> lse(rows), losses(rows), grad(logits.size());
  for (int64_t r = 0; r < rows; ++r) {
    const T* const row = logits.data() + r * vocab;
    const int64_t label = labels[r];
    if (label == kIgnoredLabel) continue;
    if (label < 0 || label >= vocab) {
      lse[r] = losses[r] = NAN;
    } else {
      double largest = -INFINITY, sum = 0;
      for (int i = 0; i < vocab; ++i) largest = std::max(largest, value(row[i]));
      for (int i = 0; i < vocab; ++i) sum += std::exp(value(row[i]) - largest);
      lse[r] = largest + std::log(sum);
      losses[r] = lse[r] - value(row[label]);
    }
    for (int i = 0; i < vocab; ++i)
      grad[r * vocab + i] = (std::exp(value(row[i]) - lse[r]) - (i == label ? 1 : 0)) * scale;
  }
  // Float32 holds lse to 2^-24 of itself, and gradients no better.
  const double of_lse = 3e-7 * (10 + 2 * deviation * 5 + (deviation > 100 ? 500 : 0));
  const auto absolute_lse = [&](size_t) { return of_lse; };
  const double rounding = kRounding<T> + 2 * of_lse;
  // p - 1 may be next to nothing; and float16 has no smaller steps than 2^-24.
  const auto absolute_grad = [&](size_t i) {
    const bool of_label = static_cast<int64_t>(i % vocab) == labels[i / vocab];
    return (of_label ? scale * of_lse : 1e-37) + (std::is_same_v<T, Half> ? 3e-8 : 0);
  };

  const Device<T> device_logits(logits, offset), device_grad(logits.size(), offset),
      in_place(logits, offset), chunk(logits, offset), elsewhere(logits.size(), offset + 1);
  const Device<int64_t> device_labels(labels);
  const Device<float> device_lse(rows), device_losses(rows), chunk_losses(rows), sum(1);
  const Device<float> device_scale(std::vector<float>{scale});
  const Device<int> flag(std::vector<int>{0}), chunk_flag(std::vector<int>{0});
  const CrossEntropyRows work{kType<T>, device_logits.get(), device_labels.get(), rows, vocab};
  cross_entropy_forward({work, device_lse.get(), device_losses.get(), flag.get()}, nullptr);
  cross_entropy_sum(device_losses.get(), rows, sum.get(), nullptr);
  const CrossEntropyRows over{kType<T>, in_place.get(), device_labels.get(), rows, vocab};
  cross_entropy_backward({work, device_lse.get(), device_scale.get(), device_grad.get()}, nullptr);
  cross_entropy_backward({work, device_lse.get(), device_scale.get(), elsewhere.get()}, nullptr);
  cross_entropy_backward({over, device_lse.get(), device_scale.get(), in_place.get()}, nullptr);
  cross_entropy_forward_backward({kType<T>, chunk.get(), device_labels.get(), rows, vocab,
                                  device_scale.get(), chunk_losses.get(), chunk_flag.get()},
                                 nullptr);
  wait();
  compare_within(forward, what + ", lse", device_lse.read(forward, what), lse, 1e-6, absolute_lse);
  const std::vector<float> got_losses = device_losses.read(forward, what);
  compare_within(forward, what + ", loss", got_losses, losses, 1e-6, absolute_lse);
  forward.expect(flag.read(forward, what)[0] == (bad ? 1 : 0), what + ", flag");
  double total = 0;
  for (float loss : got_losses) total += loss;
  const float got_sum = sum.read(forward, what)[0];
  forward.expect(std::isnan(total) ? std::isnan(got_sum)
                                   : std::abs(got_sum - total) <= 2e-7 * std::abs(total) + 1e-30,
                 what + text(", sum %.9g, not %.9g", got_sum, total));

  const std::vector<T> got = device_grad.read(backward, what);
  compare_within(backward, what, got, grad, rounding, absolute_grad);
  backward.expect(same_bits(got, in_place.read(backward, what)), what + ", in place");
  backward.expect(same_bits(got, elsewhere.read(backward, what)), what + ", otherwise aligned");
  compare_within(both, what + ", loss", chunk_losses.read(both, what), losses, 1e-6, absolute_lse);
  compare_within(both, what + ", gradient", chunk.read(both, what), grad, rounding, absolute_grad);
  both.expect(chunk_flag.read(both, what)[0] == (bad ? 1 : 0), what + ", flag");
}

void check_cross_entropies() {
  Report forward("cross_entropy_forward"), backward("cross_entropy_backward"),
      both("cross_entropy_forward_backward");
  for (int vocab : {1, 2, 5, 37, 1000, 2048, 32'000, 50'257, 57'000, 128'256, 151'936, 200'003}) {
    check_cross_entropy<BFloat16>(forward, backward, both, 8, vocab, 0, 3);
    check_cross_entropy<float>(forward, backward, both, 8, vocab, 0, 3);
    check_cross_entropy<Half>(forward, backward, both, 7, vocab, 0, 3);
    check_cross_entropy<BFloat16>(forward, backward, both, 1, vocab, 0, 30);
    check_cross_entropy<BFloat16>(forward, backward, both, 9, vocab, 3, 1);
    check_cross_entropy<float>(forward, backward, both, 3, vocab, 1, 200);
  }
  check_cross_entropy<BFloat16>(forward, backward, both, 3000, 500, 0, 3);
}

// Time

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

/// Unguarded bfloat16 or zero memory.
class Memory {
 public:
  explicit Memory(int64_t bytes, bool bfloat16 = true) {
    check(cudaMalloc(&memory_, bytes), "cudaMalloc");
    fill<<<4096, 256>>>(static_cast<uint16_t*>(memory_), bytes / 2, bfloat16);
    check(cudaGetLastError(), "fill");
  }
  ~Memory() { cudaFree(memory_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  template <class T = void>
  T* get() const {
    return static_cast<T*>(memory_);
  }

 private:
  void* memory_ = nullptr;
};

/// The median of 20 runs, each with caches that hold none of its data.
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

/// x of T, out of O, and a weight of T.
template <class T = BFloat16, class O = T>
void time_rms_norm(int64_t rows, int dim) {
  const int64_t bytes = rows * dim * sizeof(T), out_bytes = rows * dim * sizeof(O);
  // Pairs of bfloat16 are float32 numbers of about the same values.
  const Memory x(bytes), residual(bytes), sum(bytes), grad_x(bytes), out(out_bytes),
      weight(dim * sizeof(T)), inverse(rows * 4, false), grad_weight(dim * 4);
  const Memory scratch(rms_norm_backward_scratch_bytes(kType<T>, rows, dim));
  const std::string shape =
      text(" %lld x %d", static_cast<long long>(rows), dim) +
      (std::is_same_v<T, BFloat16> ? "" : text(", %s to %s", kTypeName<T>, kTypeName<O>));
  RmsNormForward forward{.type = kType<T>,
                         .out_type = kType<O>,
                         .weight_type = kType<T>,
                         .x = x.get(),
                         .weight = weight.get(),
                         .out = out.get(),
                         .inverse_rms = inverse.get<float>(),
                         .rows = rows,
                         .dim = dim,
                         .eps = 1e-5F};
  time("rms_norm forward" + shape, bytes + out_bytes, [&] { rms_norm_forward(forward, nullptr); });
  forward.residual = residual.get();
  forward.sum = sum.get();
  time("rms_norm forward, residual" + shape, 3. * bytes + out_bytes,
       [&] { rms_norm_forward(forward, nullptr); });
  RmsNormBackward backward{.type = kType<T>,
                           .out_type = kType<O>,
                           .weight_type = kType<T>,
                           .grad_out = out.get(),
                           .x = x.get(),
                           .weight = weight.get(),
                           .inverse_rms = inverse.get<float>(),
                           .grad_x = grad_x.get(),
                           .grad_weight = grad_weight.get<float>(),
                           .scratch = scratch.get(),
                           .rows = rows,
                           .dim = dim};
  time("rms_norm backward" + shape, 2. * bytes + out_bytes,
       [&] { rms_norm_backward(backward, nullptr); });
  backward.grad_sum = sum.get();
  time("rms_norm backward, residual" + shape, 3. * bytes + out_bytes,
       [&] { rms_norm_backward(backward, nullptr); });
}

void time_rope(bool halves) {
  const int64_t tokens = 16384, dim = 128, positions = 4096;
  const Memory q(tokens * 32 * dim * 2), k(tokens * 8 * dim * 2), q_out(tokens * 32 * dim * 2),
      k_out(tokens * 8 * dim * 2), table(positions * dim * 4, false);
  std::vector<int32_t> host(tokens);
  for (int64_t i = 0; i < tokens; ++i) host[i] = static_cast<int32_t>(i % positions);
  const Device<int32_t> at(host);
  Rope work{.halves = halves,
            .head_dim = dim,
            .tokens = tokens,
            .table = table.get<float>(),
            .table_positions = positions,
            .positions = at.get()};
  work.tensors[0] = {q.get(), 32 * dim, dim, q_out.get(), 32 * dim, dim, 32};
  const std::string pairs = halves ? ", halves" : ", interleaved";
  time("rope 16384 x 32 x 128" + pairs, 2. * tokens * 32 * dim * 2, [&] { rope(work, nullptr); });
  work.tensors[1] = {k.get(), 8 * dim, dim, k_out.get(), 8 * dim, dim, 8};
  time("rope 16384 x (32 and 8) x 128" + pairs, 2. * tokens * 40 * dim * 2,
       [&] { rope(work, nullptr); });
}

void time_swiglu() {
  const int64_t n = int64_t{16384} * 8192;
  const Memory gate(2 * n), up(2 * n), grad(2 * n), out(2 * n), more(2 * n);
  constexpr auto kBFloat16 = ElementType::kBFloat16;
  time("swiglu forward 16384 x 8192", 3. * n * 2, [&] {
    swiglu_forward({kBFloat16, gate.get(), up.get(), out.get(), n}, nullptr);
  });
  time("swiglu backward 16384 x 8192", 5. * n * 2, [&] {
    swiglu_backward({kBFloat16, grad.get(), gate.get(), up.get(), out.get(), more.get(), n},
                    nullptr);
  });
}

void time_cross_entropy(int64_t rows, int vocab) {
  const int64_t bytes = rows * vocab * 2;
  const Memory logits(bytes), grad(bytes), lse(rows * 4), losses(rows * 4), sum(4);
  std::vector<int64_t> host(rows);
  for (int64_t i = 0; i < rows; ++i) host[i] = i * 7919 % vocab;
  const Device<int64_t> labels(host);
  // 1: gradients become the logits of the next run.
  const Device<float> scale(std::vector<float>{1.F});
  const std::string shape = text(" %lld x %d", static_cast<long long>(rows), vocab);
  const CrossEntropyRows work{ElementType::kBFloat16, logits.get(), labels.get(), rows, vocab};
  time("cross_entropy forward" + shape, 1. * bytes, [&] {
    cross_entropy_forward({work, lse.get<float>(), losses.get<float>()}, nullptr);
  });
  time("cross_entropy backward" + shape, 2. * bytes, [&] {
    cross_entropy_backward({work, lse.get<float>(), scale.get(), grad.get()}, nullptr);
  });
  time("cross_entropy forward_backward" + shape, 2. * bytes, [&] {
    cross_entropy_forward_backward({ElementType::kBFloat16, logits.get(), labels.get(), rows, vocab,
                                    scale.get(), losses.get<float>()},
                                   nullptr);
  });
  time("cross_entropy sum" + shape, 4. * rows,
       [&] { cross_entropy_sum(losses.get<float>(), rows, sum.get<float>(), nullptr); });
}

void time_all() {
  {
    const int64_t bytes = int64_t{1} << 30;
    const Memory from(bytes), to(bytes);
    time("copy of 1 GiB", 2. * bytes, [&] {
      check(cudaMemcpyAsync(to.get(), from.get(), bytes, cudaMemcpyDeviceToDevice), "copy");
    });
  }
  time_rms_norm(16384, 2048);
  time_rms_norm(16384, 4096);
  time_rms_norm(16384, 8192);
  time_rms_norm(4096, 16384);
  time_rms_norm(16384 * 32, 128);
  for (int dim : {2048, 4096, 8192}) {
    time_rms_norm<float>(16384, dim);
    time_rms_norm<float, BFloat16>(16384, dim);
    time_rms_norm<float, Half>(16384, dim);
  }
  time_rms_norm<float>(4096, 16384);
  time_rms_norm<float, BFloat16>(4096, 16384);
  time_rms_norm<float>(16384 * 32, 128);
  time_rms_norm<float, BFloat16>(16384 * 32, 128);
  time_rope(false);
  time_rope(true);
  time_swiglu();
  time_cross_entropy(16384, 128'256);
  time_cross_entropy(16384, 151'936);
  time_cross_entropy(16384, 32'000);
  time_cross_entropy(65536, 2'048);
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
  if (option == "--time") time_all();
  return Report::total_failures == 0 ? 0 : 1;
}
