#include "coeus/ops/linear.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <optional>

#include "coeus/base/error.h"
#include "coeus/kernels/cpu/kernels.h"
#include "coeus/ops/kept_results.h"
#include "coeus/ops/weight_gradient_queue.h"

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

/// Who multiplies.
enum class Engine : int64_t {
  kOneDnn,
  kLibTorch,
  kKept,  ///< either, and the result is kept where the layer around is computed again in backward
};

/// Whether a GPU computes in autocast's dtype and gives the weight's gradient in float32 all the
/// same, straight from its matrix units: without a rounding, and without a pass over it to widen.
bool widens_gradient(const at::Tensor& weight) {
  const at::DeviceType device = weight.device().type();
  return device == at::kCUDA && weight.scalar_type() == at::kFloat && weight.requires_grad() &&
         at::GradMode::is_enabled() && at::autocast::is_autocast_enabled(device) &&
         at::autocast::get_autocast_dtype(device) != at::kFloat;
}

/// x W^T for x [rows, in]. `multiplied` is the weight in autocast's dtype, without a history;
/// absent where that is `weight` itself, which must then not be held by another name: sharding
/// takes a parameter's values away between forward and backward.
class Product : public torch::autograd::Function<Product> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& multiplied, int64_t engine_number,
                            const c10::intrusive_ptr<WeightGradientQueue>& queue) {
    context->save_for_backward({x, weight, multiplied.value_or(at::Tensor())});
    context->saved_data["engine"] = engine_number;
    if (queue != nullptr) context->saved_data["queue"] = at::IValue::make_capsule(queue);
    const at::Tensor& w = multiplied ? *multiplied : weight;
    switch (static_cast<Engine>(engine_number)) {
      case Engine::kOneDnn:
        return product(x, w);
      case Engine::kLibTorch:
        return at::linear(x, w);
      case Engine::kKept:
        return kept_or_computed(
                   [&] { return std::vector<at::Tensor>{product_with_transpose(x, w)}; })
            .front();
    }
    return {};
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const at::Tensor& multiplied = saved[2].defined() ? saved[2] : weight;
    const at::Tensor grad = grads[0].contiguous();
    const auto engine = static_cast<Engine>(context->saved_data["engine"].toInt());
    const auto times = [engine](const at::Tensor& a, const at::Tensor& b) {
      return engine == Engine::kLibTorch ? at::mm(a, b) : product_with_transpose(a, b.t());
    };
    at::Tensor grad_x, grad_weight;
    if (context->needs_input_grad(0)) grad_x = times(grad, multiplied);
    if (context->needs_input_grad(1))
      grad_weight =
          now_or_later(queue_of(*context), weight, [times, grad, x, dtype = weight.scalar_type()] {
            if (grad.is_cuda() && dtype == at::kFloat && grad.scalar_type() != at::kFloat)
              return at::mm(grad.t(), x, at::kFloat);
            return times(grad.t(), x).to(dtype);
          });
    return {grad_x, grad_weight, {}, {}, {}};
  }
};

/// By own Function, whose weight gradient can be left to a queue.
at::Tensor own_linear(at::Tensor x, const at::Tensor& weight, Engine engine,
                      const c10::intrusive_ptr<WeightGradientQueue>& queue) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  at::Tensor cast = weight;
  cast_for_autocast(x, cast);
  x = x.reshape({-1, x.size(-1)}).contiguous();
  // Where nothing else is to be done with it, the cast's own history takes the gradient to the
  // weight.
  const bool by_history = (queue == nullptr && !widens_gradient(weight)) || cast.is_same(weight);
  return Product::apply(x, by_history ? cast : weight,
                        by_history ? std::nullopt : std::optional(cast.detach()),
                        static_cast<int64_t>(engine), queue)
      .view(shape);
}

}  // namespace

at::Tensor linear_reference(const at::Tensor& x, const at::Tensor& weight) {
  return at::linear(x, weight);
}

void cast_for_autocast(at::Tensor& x, at::Tensor& weight) {
  const at::DeviceType device = x.device().type();
  if (!at::autocast::is_autocast_enabled(device)) return;
  const at::ScalarType dtype = at::autocast::get_autocast_dtype(device);
  x = at::autocast::cached_cast(dtype, x, device);
  weight = at::autocast::cached_cast(dtype, weight, device);
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
  const c10::intrusive_ptr<WeightGradientQueue> queue = queue_for(weight);
  KeptResults* const kept = KeptResults::current();
  if (kept != nullptr && kept->keeps_linear(weight.size(1), weight.size(0)))
    return own_linear(x, weight, Engine::kKept, queue);
  const bool suits = x.device().is_cpu() && x.scalar_type() == at::kFloat &&
                     weight.scalar_type() == at::kFloat && x.numel() > 0 &&
                     !at::autocast::is_autocast_enabled(at::kCPU);
  if (suits && one_dnn_serves()) return own_linear(x, weight, Engine::kOneDnn, queue);
  if (queue != nullptr || widens_gradient(weight))
    return own_linear(x, weight, Engine::kLibTorch, queue);
  return linear_reference(x, weight);
}

}  // namespace coeus
