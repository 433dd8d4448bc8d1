#include "coeus/ops/linear.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/torch.h>

#include <cstring>

#include "coeus/base/error.h"
#include "coeus/kernels/cpu/kernels.h"

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
      std::strcmp(cpu_capability(), "avx512") == 0 &&
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

}  // namespace

at::Tensor linear_reference(const at::Tensor& x, const at::Tensor& weight) {
  return at::linear(x, weight);
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight) {
  COEUS_CHECK(weight.dim() == 2 && x.dim() >= 1 && x.size(-1) == weight.size(1),
              "[linear] the weight must be [out, in] for x [..., in], got weight {} and x {}",
              weight.sizes(), x.sizes());
  const bool suits = x.device().is_cpu() && x.scalar_type() == at::kFloat &&
                     weight.scalar_type() == at::kFloat && x.numel() > 0 &&
                     !at::autocast::is_autocast_enabled(at::kCPU);
  if (!suits || !one_dnn_serves()) return linear_reference(x, weight);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  return OneDnnProduct::apply(x.reshape({-1, x.size(-1)}).contiguous(), weight).view(shape);
}

}  // namespace coeus
