#include "coeus/ops/rms_norm.h"

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <tuple>

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

/// The norm on the CPU and 1 / sqrt(mean(x^2) + eps) of rows. x is contiguous.
std::pair<at::Tensor, at::Tensor> normed_on_cpu(const at::Tensor& x, const at::Tensor& weight,
                                                double eps) {
  const int64_t dim = x.size(-1);
  const int64_t rows = x.numel() / dim;
  at::Tensor out = at::empty_like(x);
  at::Tensor inverse_rms = at::empty({rows}, x.options().dtype(at::kFloat));
  with_kernel_type(x, [&]<class T>() {
    at::parallel_for(0, rows, kRowsAChunk, [&](int64_t begin, int64_t end) {
      cpu_kernels<T>().rms_norm_forward(kernel_input<T>(x) + begin * dim, kernel_input<T>(weight),
                                        kernel_output<T>(out) + begin * dim,
                                        inverse_rms.mutable_data_ptr<float>() + begin, end - begin,
                                        dim, static_cast<float>(eps));
    });
  });
  return {out, inverse_rms};
}

/// The gradients of x and, in float32, of the weight.
std::pair<at::Tensor, at::Tensor> gradients(const at::Tensor& grad, const at::Tensor& x,
                                            const at::Tensor& weight,
                                            const at::Tensor& inverse_rms) {
  if (FusedOperations* const fused = fused_operations(x))
    return fused->rms_norm_backward(grad, x, weight, inverse_rms);
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
            kernel_output<T>(grad_x) + begin * dim, partial.mutable_data_ptr<float>() + chunk * dim,
            end - begin, dim);
      }
    });
  });
  return {grad_x, partial.sum(0)};
}

/// A dtype in saved_data.
void save_dtype(AutogradContext& context, const char* name, const at::Tensor& of) {
  context.saved_data[name] = static_cast<int64_t>(of.scalar_type());
}
at::ScalarType saved_dtype(AutogradContext& context, const char* name) {
  return static_cast<at::ScalarType>(context.saved_data[name].toInt());
}

class RmsNorm : public torch::autograd::Function<RmsNorm> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_in,
                            const at::Tensor& weight_in, double eps) {
    const at::Tensor x = x_in.contiguous();
    const at::Tensor weight = weight_in.to(x.scalar_type()).contiguous();
    save_dtype(*context, "weight_dtype", weight_in);
    FusedOperations* const fused = fused_operations(x);
    const auto [normed, inverse_rms] = fused != nullptr
                                           ? fused->rms_norm(x, weight, eps, out_dtype(x))
                                           : normed_on_cpu(x, weight, eps);
    context->save_for_backward({x, weight, inverse_rms});
    return normed;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const auto [grad_x, grad_weight] =
        gradients(grads[0].contiguous(), saved[0], saved[1], saved[2]);
    return {grad_x, grad_weight.to(saved_dtype(*context, "weight_dtype")), {}};
  }
};

class AddRmsNorm : public torch::autograd::Function<AddRmsNorm> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& y,
                               const at::Tensor& weight_in, double eps) {
    const at::Tensor weight = weight_in.to(at::result_type(x, y)).contiguous();
    save_dtype(*context, "weight_dtype", weight_in);
    save_dtype(*context, "y_dtype", y);
    context->set_materialize_grads(false);
    at::Tensor sum, normed, inverse_rms;
    if (FusedOperations* const fused = fused_operations(x)) {
      std::tie(sum, normed, inverse_rms) =
          fused->add_rms_norm(x.contiguous(), y.contiguous(), weight, eps, out_dtype(x));
    } else {
      sum = (x + y).contiguous();
      std::tie(normed, inverse_rms) = normed_on_cpu(sum, weight, eps);
    }
    context->save_for_backward({sum, weight, inverse_rms});
    return {sum, normed};
  }

  /// Where a gradient's dtype is not that of its input, autograd rounds it.
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const at::Tensor &grad_sum = grads[0], &grad_normed = grads[1];
    if (!grad_normed.defined()) return {grad_sum, grad_sum, {}, {}};
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &sum = saved[0], &weight = saved[1], &inverse_rms = saved[2];
    const at::ScalarType weight_dtype = saved_dtype(*context, "weight_dtype");
    FusedOperations* const fused = fused_operations(sum);
    if (fused != nullptr && grad_sum.defined()) {
      const auto [grad_x, grad_y, grad_weight] =
          fused->add_rms_norm_backward(grad_sum.contiguous(), grad_normed.contiguous(), sum, weight,
                                       inverse_rms, saved_dtype(*context, "y_dtype"));
      return {grad_x, grad_y, grad_weight.to(weight_dtype), {}};
    }
    const auto [grad_of_normed, grad_weight] =
        gradients(grad_normed.contiguous(), sum, weight, inverse_rms);
    const at::Tensor grad = grad_sum.defined() ? grad_sum + grad_of_normed : grad_of_normed;
    return {grad, grad, grad_weight.to(weight_dtype), {}};
  }
};

void check_weight(const char* operation, const at::Tensor& x, const at::Tensor& weight) {
  COEUS_CHECK(x.dim() >= 1 && weight.dim() == 1 && weight.size(0) == x.size(-1),
              "[{}] the weight must hold one value for each of the last dimension, got x {} and "
              "weight {}",
              operation, x.sizes(), weight.sizes());
}

/// Whether a device has add_rms_norm for these dtypes.
bool fuses(const at::Tensor& x, const at::Tensor& y) {
  const at::ScalarType dtype = at::result_type(x, y);
  return fused_operations(x) != nullptr && x.scalar_type() == dtype &&
         (y.scalar_type() == dtype || y.scalar_type() == out_dtype(x));
}

}  // namespace

at::Tensor rms_norm_reference(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const auto dtype = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor wide = x.to(dtype);
  const at::Tensor inverse = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
  return (wide * inverse * weight.to(dtype)).to(x.scalar_type());
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  check_weight("rms_norm", x, weight);
  if ((!has_cpu_kernel(x) && fused_operations(x) == nullptr) || x.numel() == 0)
    return rms_norm_reference(x, weight, eps);
  return RmsNorm::apply(x, weight, eps);
}

std::pair<at::Tensor, at::Tensor> add_rms_norm_reference(const at::Tensor& x, const at::Tensor& y,
                                                         const at::Tensor& weight, double eps) {
  const at::Tensor sum = x + y;
  return {sum, rms_norm_reference(sum, weight, eps)};
}

std::pair<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x, const at::Tensor& y,
                                               const at::Tensor& weight, double eps) {
  COEUS_CHECK(x.sizes() == y.sizes(), "[add_rms_norm] x and y must have one shape, got {} and {}",
              x.sizes(), y.sizes());
  check_weight("add_rms_norm", x, weight);
  if (((has_cpu_kernel(x) && has_cpu_kernel(y)) || fuses(x, y)) && x.numel() > 0) {
    const variable_list outputs = AddRmsNorm::apply(x, y, weight, eps);
    return {outputs[0], outputs[1]};
  }
  const at::Tensor sum = x + y;
  return {sum, rms_norm(sum, weight, eps)};
}

}  // namespace coeus
