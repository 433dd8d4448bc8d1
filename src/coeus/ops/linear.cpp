#include "coeus/ops/linear.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <cstring>

#include "coeus/base/error.h"
#include "coeus/kernels/cpu/kernels.h"
#include "coeus/ops/kept_results.h"

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using OneDnnLinear = at::Tensor(const at::Tensor&, const at::Tensor&,
                                const std::optional<at::Tensor>&, std::string_view,
                                c10::List<std::optional<at::Scalar>>,
                                std::optional<std::string_view>);

/// a b^T for a [m, k] and b [n, k], either of which may be a transposed view.
at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                             .typed<OneDnnLinear>();
  return op.call(a, b, /*bias=*/std::nullopt, /*attr=*/"none",
                 c10::List<std::optional<at::Scalar>>(), /*algorithm=*/"");
}

/// Whether this LibTorch registers the operator and the CPU gains by it.
bool one_dnn_serves() {
  static const bool serves =
      cpu_has_avx512() &&
      c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""}).has_value();
  return serves;
}

class OneDnnProduct : public torch::autograd::Function<OneDnnProduct> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight) {
    context->save_for_backward({x, weight});
    return product(x, weight);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const at::Tensor grad = grads[0].contiguous();
    return {product(grad, weight.t()), product(grad.t(), x.t())};
  }
};

/// The same product, kept where the layer around it is computed again in backward.
class KeptProduct : public torch::autograd::Function<KeptProduct> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight) {
    context->save_for_backward({x, weight});
    return kept_or_computed(
               [&] { return std::vector<at::Tensor>{product_with_transpose(x, weight)}; })
        .front();
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const at::Tensor grad = grads[0].contiguous();
    return {product_with_transpose(grad, weight.t()), product_with_transpose(grad.t(), x.t())};
  }
};

/// x and the weight in autocast's dtype, where that is on.
void autocast(at::Tensor& x, at::Tensor& weight) {
  const at::DeviceType device = x.device().type();
  if (!at::autocast::is_autocast_enabled(device)) return;
  const at::ScalarType dtype = at::autocast::get_autocast_dtype(device);
  x = at::autocast::cached_cast(dtype, x, device);
  weight = at::autocast::cached_cast(dtype, weight, device);
}

at::Tensor kept_linear(at::Tensor x, at::Tensor weight) {
  autocast(x, weight);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  return KeptProduct::apply(x.reshape({-1, x.size(-1)}).contiguous(), weight).view(shape);
}

}  // namespace

at::Tensor linear_reference(const at::Tensor& x, const at::Tensor& weight) {
  return at::linear(x, weight);
}

at::Tensor product_with_transpose(const at::Tensor& a, const at::Tensor& b) {
  at::NoGradGuard no_grad;
  const bool suits = a.device().is_cpu() && a.scalar_type() == at::kFloat && a.numel() > 0;
  return suits && one_dnn_serves() ? product(a, b) : at::mm(a, b.t());
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight) {
  COEUS_CHECK(weight.dim() == 2 && x.dim() >= 1 && x.size(-1) == weight.size(1),
              "[linear] the weight must be [out, in] for x [..., in], got weight {} and x {}",
              weight.sizes(), x.sizes());
  KeptResults* const kept = KeptResults::current();
  if (kept != nullptr && kept->keeps_linear(weight.size(1), weight.size(0)))
    return kept_linear(x, weight);
  const bool suits = x.device().is_cpu() && x.scalar_type() == at::kFloat &&
                     weight.scalar_type() == at::kFloat && x.numel() > 0 &&
                     !at::autocast::is_autocast_enabled(at::kCPU);
  if (!suits || !one_dnn_serves()) return linear_reference(x, weight);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  return OneDnnProduct::apply(x.reshape({-1, x.size(-1)}).contiguous(), weight).view(shape);
}

}  // namespace coeus
