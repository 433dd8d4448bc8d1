#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "checks.h"
#include "coeus/kernels/cuda/swiglu.h"
#include "device_check.h"
#include "device_time.h"

namespace coeus::cuda {

namespace {

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

}  // namespace

void check_swiglus() {
  Report forward("swiglu_forward"), backward("swiglu_backward");
  for (int64_t n : {1, 7, 8, 9, 33, 4096, 4099, 100'003, 1 << 20})
    for (int offset : {0, 1}) {
      check_swiglu<float>(forward, backward, n, offset);
      check_swiglu<BFloat16>(forward, backward, n, offset);
      check_swiglu<Half>(forward, backward, n, offset);
    }
}

void time_swiglus() {
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

}  // namespace coeus::cuda
