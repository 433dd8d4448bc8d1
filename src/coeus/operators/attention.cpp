// coeus's attention as operators of PyTorch. `attention` is what users call; it keeps the first
// result of `attention_with_lse`, whose gradients `_attention_backward` computes. Each of those two
// is one operator to whatever looks at a program: FakeTensor, torch.compile, the profiler.
#include "coeus/operators/attention.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "coeus/base/error.h"
#include "coeus/operators/mask_classes.h"
#include "coeus/ops/attention_part.h"
#include "coeus/ops/cuda_library.h"

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using TwoTensors = std::tuple<at::Tensor, at::Tensor>;
using ThreeTensors = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

double scale_or_default(std::optional<double> scale, const at::Tensor& q) {
  return scale.value_or(1 / std::sqrt(static_cast<double>(q.size(3))));
}

AttentionEngine engine_of(const at::Tensor& q, const at::Tensor& v, const BlockMask& mask,
                          std::string_view name) {
  const AttentionEngine asked = attention_engine_from_name(name);
  COEUS_CHECK(asked != AttentionEngine::kCheck,
              "[attention] engine \"check\" reports to a training run, and there is none here; "
              "compare with engine \"reference\"");
  if (q.is_cuda() && asked != AttentionEngine::kReference)
    COEUS_CHECK(load_cuda().empty(), "[attention] {}", load_cuda());
  return resolve_attention_engine(q, v, mask, asked).engine;
}

TwoTensors forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   const BlockMaskPointer& block_mask, std::optional<double> scale,
                   std::string_view engine) {
  const BlockMask& mask = block_mask->mask;
  check_attention_arguments(q, k, v, mask);
  const AttentionPart part =
      attention_part(engine_of(q, v, mask, engine), q, k, v, mask, scale_or_default(scale, q));
  return {part.out.contiguous(), part.lse.contiguous()};
}

ThreeTensors backward(const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k,
                      const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                      const BlockMaskPointer& block_mask, std::optional<double> scale,
                      std::string_view engine) {
  const BlockMask& mask = block_mask->mask;
  check_attention_arguments(q, k, v, mask);
  const AttentionGradients grads = attention_part_backward(
      engine_of(q, v, mask, engine), grad_out, q, k, v, out, lse, mask, scale_or_default(scale, q));
  return {grads.q.contiguous(), grads.k.contiguous(), grads.v.contiguous()};
}

/// The shapes and dtypes of `forward` and `backward`, computing nothing.
TwoTensors forward_shapes(const at::Tensor& q, const at::Tensor& /*k*/, const at::Tensor& v,
                          const BlockMaskPointer& /*block_mask*/, std::optional<double> /*scale*/,
                          std::string_view /*engine*/) {
  const auto lse_type = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return {
      at::empty_symint({q.sym_size(0), q.sym_size(1), q.sym_size(2), v.sym_size(3)}, q.options()),
      at::empty_symint({q.sym_size(0), q.sym_size(2), q.sym_size(1)}, q.options().dtype(lse_type))};
}

ThreeTensors backward_shapes(const at::Tensor& /*grad_out*/, const at::Tensor& q,
                             const at::Tensor& k, const at::Tensor& v, const at::Tensor& /*out*/,
                             const at::Tensor& /*lse*/, const BlockMaskPointer& /*block_mask*/,
                             std::optional<double> /*scale*/, std::string_view /*engine*/) {
  const auto like = [](const at::Tensor& x) {
    return at::empty_symint(x.sym_sizes(), x.options());
  };
  return {like(q), like(k), like(v)};
}

TwoTensors call_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const BlockMaskPointer& block_mask, std::optional<double> scale,
                        std::string_view engine) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("coeus::attention_with_lse", "")
                             .typed<decltype(forward)>();
  return op.call(q, k, v, block_mask, scale, engine);
}

class DifferentiableAttention : public torch::autograd::Function<DifferentiableAttention> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                               const at::Tensor& v, const BlockMaskPointer& block_mask,
                               std::optional<double> scale, std::string_view engine) {
    const at::AutoDispatchBelowADInplaceOrView without_autograd;
    const auto [out, lse] = call_forward(q, k, v, block_mask, scale, engine);
    context->save_for_backward({q, k, v, out, lse});
    context->saved_data["block_mask"] = block_mask;
    context->saved_data["scale"] = scale;
    context->saved_data["engine"] = std::string(engine);
    context->mark_non_differentiable({lse});
    return {out, lse};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    COEUS_CHECK(!at::GradMode::is_enabled(),
                "[attention] coeus::attention has no second derivative");
    static const auto op = c10::Dispatcher::singleton()
                               .findSchemaOrThrow("coeus::_attention_backward", "")
                               .typed<decltype(coeus::backward)>();
    const variable_list saved = context->get_saved_variables();
    const auto [q, k, v] =
        op.call(grads[0], saved[0], saved[1], saved[2], saved[3], saved[4],
                context->saved_data["block_mask"].toCustomClass<BlockMaskObject>(),
                context->saved_data["scale"].toOptional<double>(),
                context->saved_data["engine"].toStringView());
    return {q, k, v, {}, {}, {}};
  }
};

TwoTensors differentiable(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const BlockMaskPointer& block_mask, std::optional<double> scale,
                          std::string_view engine) {
  const variable_list results = DifferentiableAttention::apply(q, k, v, block_mask, scale, engine);
  return {results[0], results[1]};
}

at::Tensor without_lse(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       const BlockMaskPointer& block_mask, std::optional<double> scale,
                       std::string_view engine) {
  return std::get<0>(call_forward(q, k, v, block_mask, scale, engine));
}

}  // namespace

void define_attention(torch::Library& library) {
  library.def(
      "attention(Tensor q, Tensor k, Tensor v, __torch__.torch.classes.coeus.BlockMask block_mask, "
      "*, float? scale=None, str engine=\"auto\") -> Tensor",
      &without_lse);
  library.def(
      "attention_with_lse(Tensor q, Tensor k, Tensor v, "
      "__torch__.torch.classes.coeus.BlockMask block_mask, *, float? scale=None, "
      "str engine=\"auto\") -> (Tensor, Tensor)");
  library.def(
      "_attention_backward(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, "
      "__torch__.torch.classes.coeus.BlockMask block_mask, *, float? scale=None, "
      "str engine=\"auto\") -> (Tensor, Tensor, Tensor)");
  // Here, and in no TORCH_LIBRARY_IMPL, which might run before the class is registered.
  for (const auto device : {c10::DispatchKey::CPU, c10::DispatchKey::CUDA}) {
    library.impl("attention_with_lse", torch::dispatch(device, &forward));
    library.impl("_attention_backward", torch::dispatch(device, &backward));
  }
  library.impl("attention_with_lse", torch::dispatch(c10::DispatchKey::Meta, &forward_shapes));
  library.impl("_attention_backward", torch::dispatch(c10::DispatchKey::Meta, &backward_shapes));
  library.impl("attention_with_lse", torch::dispatch(c10::DispatchKey::Autograd, &differentiable));
}

}  // namespace coeus
