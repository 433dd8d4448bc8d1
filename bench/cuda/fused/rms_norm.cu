#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "checks.h"
#include "coeus/kernels/cuda/rms_norm.h"
#include "device_check.h"
#include "device_time.h"

namespace coeus::cuda {

namespace {

/// In place of a residual's type.
struct None {};

/// x of T, a weight of W, out and its gradient of O, a residual of R, which has its own offset.
template <class T, class W, class O, class R>
void check_rms_norm_of(Report& forward, Report& backward, int64_t rows, int dim, int offset,
                       int residual_offset) {
  constexpr bool kAdd = !std::is_same_v<R, None>;
  /// Whether the residual has a gradient apart from x's.
  constexpr bool kApart = kAdd && !std::is_same_v<R, T>;
  using Residual = std::conditional_t<kAdd, R, T>;
  const float eps = 1e-5F;
  const size_t n = rows * dim;
  const std::vector<T> x = normal<T>(n), grad_sum = normal<T>(n);
  const std::vector<Residual> residual = normal<Residual>(n);
  const std::vector<O> grad = normal<O>(n);
  const std::vector<W> weight = normal<W>(dim, 0.1, 1);
  const std::string what =
      text("%s to %s, weight %s, rows %lld, dim %d, offset %d", kTypeName<T>, kTypeName<O>,
           kTypeName<W>, static_cast<long long>(rows), dim, offset) +
      (kAdd ? text(", residual %s, offset %d", kTypeName<Residual>, residual_offset) : "");
  const Device<T> device_x(x, offset), device_grad_sum(grad_sum, offset);
  const Device<Residual> device_residual(residual, residual_offset);
  const Device<O> device_grad(grad, offset);
  const Device<W> device_weight(weight, offset);

  std::vector<T> normed(n);
  std::vector<double> sum(n), out(n), inverse(rows), grad_x(n), grad_weight(dim), magnitude(dim),
      row_magnitude(rows);
  for (int64_t r = 0; r < rows; ++r) {
    double squares = 0, dot = 0;
    for (int i = 0; i < dim; ++i) {
      const size_t at = r * dim + i;
      normed[at] = kAdd ? narrow<T>(value(x[at]) + value(residual[at])) : x[at];
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
          (kAdd ? value(grad_sum[at]) : 0);
      const double share = value(grad[at]) * sum[at] * inverse[r];
      grad_weight[i] += share;
      magnitude[i] += std::abs(share);
    }
    row_magnitude[r] = 1e-5 * (1 + inverse[r] * 20);
  }

  const Device<T> device_sum(n, offset), in_place(x, offset);
  const Device<O> device_out(n, offset), out_again(n, offset);
  const Device<Residual> out_over_residual(residual, residual_offset);
  const Device<float> device_inverse(rows);
  RmsNormForward work{.type = kType<T>,
                      .out_type = kType<O>,
                      .residual_type = kType<Residual>,
                      .weight_type = kType<W>,
                      .x = device_x.get(),
                      .residual = kAdd ? device_residual.get() : nullptr,
                      .weight = device_weight.get(),
                      .sum = kAdd ? device_sum.get() : nullptr,
                      .out = device_out.get(),
                      .inverse_rms = device_inverse.get(),
                      .rows = rows,
                      .dim = dim,
                      .eps = eps};
  rms_norm_forward(work, nullptr);
  // The sum over x, or out over x or the residual where their types are one.
  work.x = in_place.get();
  work.out = out_again.get();
  if (kAdd) work.sum = in_place.get();
  if (!kAdd && std::is_same_v<T, O>) work.out = in_place.get();
  if (kApart) {
    work.residual = out_over_residual.get();
    work.out = out_over_residual.get();
  }
  if (std::is_same_v<T, O>) work.out_type.reset();
  if (std::is_same_v<T, Residual>) work.residual_type.reset();
  rms_norm_forward(work, nullptr);
  wait();
  const std::vector<O> got_out = device_out.read(forward, what);
  compare(forward, what + ", out", got_out, out);
  compare(forward, what + ", inverse", device_inverse.read(forward, what), inverse);
  if (kAdd) forward.expect(same_bits(device_sum.read(forward, what), normed), what + ", sum");
  const std::vector<T> overwritten = in_place.read(forward, what);
  bool same = true;
  if constexpr (kApart)
    same =
        same_bits(overwritten, normed) && same_bits(out_over_residual.read(forward, what), got_out);
  else if constexpr (kAdd || !std::is_same_v<T, O>)
    same = same_bits(overwritten, normed) && same_bits(out_again.read(forward, what), got_out);
  else
    same = same_bits(overwritten, got_out);
  forward.expect(same, what + ", in place");

  const Device<T> normed_again(normed, offset), device_grad_x(n, offset), over_x(normed, offset),
      over_grad_sum(grad_sum, offset);
  const Device<O> over_grad_out(grad, offset), device_grad_residual(n, residual_offset);
  const Device<float> device_grad_weight(dim), grad_weight_again(dim);
  const Device<char> scratch(rms_norm_backward_scratch_bytes(kType<T>, rows, dim));
  RmsNormBackward gradient{.type = kType<T>,
                           .out_type = kType<O>,
                           .weight_type = kType<W>,
                           .grad_out = device_grad.get(),
                           .grad_sum = kAdd ? device_grad_sum.get() : nullptr,
                           .x = normed_again.get(),
                           .weight = device_weight.get(),
                           .inverse_rms = device_inverse.get(),
                           .grad_x = device_grad_x.get(),
                           .grad_residual = kApart ? device_grad_residual.get() : nullptr,
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
  std::vector<O> rounded_grad(n);
  for (size_t i = 0; i < n; ++i) rounded_grad[i] = narrow<O>(value(got[i]));
  const auto check_grad_residual = [&](const std::string& where) {
    if (kApart)
      backward.expect(same_bits(device_grad_residual.read(backward, where), rounded_grad),
                      where + ", grad_residual");
  };
  check_grad_residual(what);

  const auto again = [&](RmsNormBackward in_place_work, const Device<T>& grad_x_again,
                         const char* where) {
    in_place_work.grad_x = grad_x_again.get();
    in_place_work.grad_weight = grad_weight_again.get();
    rms_norm_backward(in_place_work, nullptr);
    wait();
    backward.expect(same_bits(got, grad_x_again.read(backward, what)) &&
                        same_bits(of_weight, grad_weight_again.read(backward, what)),
                    what + where);
    check_grad_residual(what + where);
  };
  RmsNormBackward in_place_work = gradient;
  in_place_work.x = over_x.get();
  again(in_place_work, over_x, ", over x");
  if (kAdd) {
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

/// Without a residual and with one of every type that there may be.
template <class T, class W, class O = T>
void check_rms_norm(Report& forward, Report& backward, int64_t rows, int dim, int offset) {
  check_rms_norm_of<T, W, O, None>(forward, backward, rows, dim, offset, offset);
  check_rms_norm_of<T, W, O, T>(forward, backward, rows, dim, offset, offset);
  if constexpr (!std::is_same_v<T, O>)
    check_rms_norm_of<T, W, O, O>(forward, backward, rows, dim, offset, offset);
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
  const Device<float> memory(std::vector<float>(64, 1.F)), out(64), sum(64), inverse(1);
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
  for (ElementType residual_type : kTypes)
    for (ElementType out_type : {ElementType::kFloat32, ElementType::kBFloat16}) {
      const bool taken = residual_type == ElementType::kFloat32 || residual_type == out_type;
      report.expect(taken != throws([&] {
                      rms_norm_forward({.type = ElementType::kFloat32,
                                        .out_type = out_type,
                                        .residual_type = residual_type,
                                        .weight_type = ElementType::kFloat32,
                                        .x = memory.get(),
                                        .residual = memory.get(),
                                        .weight = memory.get(),
                                        .sum = sum.get(),
                                        .out = out.get(),
                                        .inverse_rms = inverse.get(),
                                        .rows = 1,
                                        .dim = 64},
                                       nullptr);
                    }),
                    text("residual of type %d, out of %d", static_cast<int>(residual_type),
                         static_cast<int>(out_type)));
    }
  for (ElementType out_type : {ElementType::kFloat32, ElementType::kBFloat16})
    for (bool add : {false, true}) {
      const bool taken = add && out_type == ElementType::kBFloat16;
      report.expect(taken != throws([&] {
                      rms_norm_backward({.type = ElementType::kFloat32,
                                         .out_type = out_type,
                                         .weight_type = ElementType::kFloat32,
                                         .grad_out = memory.get(),
                                         .grad_sum = add ? memory.get() : nullptr,
                                         .x = memory.get(),
                                         .weight = memory.get(),
                                         .inverse_rms = inverse.get(),
                                         .grad_x = out.get(),
                                         .grad_residual = sum.get(),
                                         .rows = 1,
                                         .dim = 64},
                                        nullptr);
                    }),
                    text("gradient of a residual, out of type %d, grad_sum %d",
                         static_cast<int>(out_type), add ? 1 : 0));
    }
  wait();
}

/// x of T, out of O, and a weight of T.
template <class T = BFloat16, class O = T>
void time_rms_norm(int64_t rows, int dim) {
  constexpr bool kApart = !std::is_same_v<T, O>;
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
  if (kApart) {
    forward.residual_type = kType<O>;
    time("rms_norm forward, narrow residual" + shape, 2. * bytes + 2. * out_bytes,
         [&] { rms_norm_forward(forward, nullptr); });
  }
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
  if (kApart) {
    backward.grad_residual = residual.get();
    time("rms_norm backward, narrow residual" + shape, 3. * bytes + 2. * out_bytes,
         [&] { rms_norm_backward(backward, nullptr); });
  }
}

}  // namespace

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
    // The residual alone at no multiple, and all others.
    check_rms_norm_of<float, float, BFloat16, BFloat16>(forward, backward, 33, dim, 0, 2);
    check_rms_norm_of<float, float, BFloat16, BFloat16>(forward, backward, 33, dim, 2, 0);
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

void time_rms_norms() {
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
}

}  // namespace coeus::cuda
