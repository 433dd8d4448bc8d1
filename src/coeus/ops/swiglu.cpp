#include "coeus/ops/swiglu.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/ops/cpu_dispatch.h"
#include "coeus/ops/fused_operations.h"
#include "coeus/ops/parallel_for.h"

namespace coeus {

namespace {

constexpr int64_t kGrain = 16384;

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class SwiGlu : public torch::autograd::Function<SwiGlu> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate_in,
                            const at::Tensor& up_in) {
    const at::Tensor gate = gate_in.contiguous();
    const at::Tensor up = up_in.contiguous();
    context->save_for_backward({gate, up});
    if (FusedOperations* const fused = fused_operations(gate)) return fused->swiglu(gate, up);
    at::Tensor out = at::empty_like(gate);
    with_kernel_type(gate, [&]<class T>() {
      at::parallel_for(0, gate.numel(), kGrain, [&](int64_t begin, int64_t end) {
        cpu_kernels<T>().swiglu_forward(kernel_input<T>(gate) + begin, kernel_input<T>(up) + begin,
                                        kernel_output<T>(out) + begin, end - begin);
      });
    });
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& gate = saved[0];
    const at::Tensor& up = saved[1];
    const at::Tensor grad = grads[0].contiguous();
    if (FusedOperations* const fused = fused_operations(gate)) {
      const auto [of_gate, of_up] = fused->swiglu_backward(grad, gate, up);
      return {of_gate, of_up};
    }
    at::Tensor grad_gate = at::empty_like(gate);
    at::Tensor grad_up = at::empty_like(up);
    with_kernel_type(gate, [&]<class T>() {
      at::parallel_for(0, gate.numel(), kGrain, [&](int64_t begin, int64_t end) {
        cpu_kernels<T>().swiglu_backward(kernel_input<T>(grad) + begin,
                                         kernel_input<T>(gate) + begin, kernel_input<T>(up) + begin,
                                         kernel_output<T>(grad_gate) + begin,
                                         kernel_output<T>(grad_up) + begin, end - begin);
      });
    });
    return {grad_gate, grad_up};
  }
};

}  // namespace

at::Tensor swiglu_reference(const at::Tensor& gate, const at::Tensor& up) {
  return at::silu(gate) * up;
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  COEUS_CHECK(gate.sizes() == up.sizes() && gate.scalar_type() == up.scalar_type(),
              "[swiglu] gate and up must have one shape and dtype, got {} {} and {} {}",
              gate.sizes(), c10::toString(gate.scalar_type()), up.sizes(),
              c10::toString(up.scalar_type()));
  if (!has_cpu_kernel(gate) && fused_operations(gate) == nullptr) return swiglu_reference(gate, up);
  return SwiGlu::apply(gate, up);
}

}  // namespace coeus
