#include "coeus/ops/rms_norm.h"

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/ops/cpu_dispatch.h"
#include "coeus/ops/fused_operations.h"
#include "coeus/ops/parallel_for.h"

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Rows whose share of the weight's gradient is summed as one. The rows' split must not depend on
/// the number of threads, or sums would differ between machines.
constexpr int64_t kRowsAChunk = 64;

/// What a device rounds to: matrix products read a norm's output, and round it so under autocast.
at::ScalarType out_dtype(const at::Tensor& x) {
  const at::DeviceType device = x.device().type();
  const bool narrows = x.scalar_type() == at::kFloat && at::autocast::is_autocast_enabled(device);
  return narrows ? at::autocast::get_autocast_dtype(device) : x.scalar_type();
}

class RmsNorm : public torch::autograd::Function<RmsNorm> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_in,
                            const at::Tensor& weight_in, double eps) {
    const at::Tensor x = x_in.contiguous();
    const at::Tensor weight = weight_in.to(x.scalar_type()).contiguous();
    context->saved_data["weight_dtype"] = static_cast<int64_t>(weight_in.scalar_type());
    if (FusedOperations* const fused = fused_operations(x)) {
      const auto [normed, inverse_of_rows] = fused->rms_norm(x, weight, eps, out_dtype(x));
      context->save_for_backward({x, weight, inverse_of_rows});
      return normed;
    }
    const int64_t dim = x.size(-1);
    const int64_t rows = x.numel() / dim;
    at::Tensor out = at::empty_like(x);
    at::Tensor inverse_rms = at::empty({rows}, x.options().dtype(at::kFloat));
    with_kernel_type(x, [&]<class T>() {
      at::parallel_for(0, rows, kRowsAChunk, [&](int64_t begin, int64_t end) {
        cpu_kernels<T>().rms_norm_forward(kernel_input<T>(x) + begin * dim, kernel_input<T>(weight),
                                          kernel_output<T>(out) + begin * dim,
                                          inverse_rms.mutable_data_ptr<float>() + begin,
                                          end - begin, dim, static_cast<float>(eps));
      });
    });
    context->save_for_backward({x, weight, inverse_rms});
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor& weight = saved[1];
    const at::Tensor& inverse_rms = saved[2];
    const at::Tensor grad = grads[0].contiguous();
    const auto dtype = static_cast<at::ScalarType>(context->saved_data["weight_dtype"].toInt());
    if (FusedOperations* const fused = fused_operations(x)) {
      const auto [fused_grad_x, grad_weight] =
          fused->rms_norm_backward(grad, x, weight, inverse_rms);
      return {fused_grad_x, grad_weight.to(dtype), {}};
    }
    const int64_t dim = x.size(-1);
    const int64_t rows = x.numel() / dim;
    const int64_t chunks = (rows + kRowsAChunk - 1) / kRowsAChunk;
    at::Tensor grad_x = at::empty_like(x);
    at::Tensor partial = at::zeros({chunks, dim}, x.options().dtype(at::kFloat));
    with_kernel_type(x, [&]<class T>() {
      at::parallel_for(0, chunks, 1, [&](int64_t first, int64_t last) {
        for (int64_t chunk = first; chunk < last; ++chunk) {
          const int64_t begin = chunk * kRowsAChunk;
          const int64_t end = std::min(rows, begin + kRowsAChunk);
          cpu_kernels<T>().rms_norm_backward(
              kernel_input<T>(grad) + begin * dim, kernel_input<T>(x) + begin * dim,
              kernel_input<T>(weight), inverse_rms.const_data_ptr<float>() + begin,
              kernel_output<T>(grad_x) + begin * dim,
              partial.mutable_data_ptr<float>() + chunk * dim, end - begin, dim);
        }
      });
    });
    return {grad_x, partial.sum(0).to(dtype), {}};
  }
};

}  // namespace

at::Tensor rms_norm_reference(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const auto dtype = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor wide = x.to(dtype);
  const at::Tensor inverse = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
  return (wide * inverse * weight.to(dtype)).to(x.scalar_type());
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  COEUS_CHECK(x.dim() >= 1 && weight.dim() == 1 && weight.size(0) == x.size(-1),
              "[rms_norm] the weight must hold one value for each of the last dimension, got x {} "
              "and weight {}",
              x.sizes(), weight.sizes());
  if ((!has_cpu_kernel(x) && fused_operations(x) == nullptr) || x.numel() == 0)
    return rms_norm_reference(x, weight, eps);
  return RmsNorm::apply(x, weight, eps);
}

}  // namespace coeus
