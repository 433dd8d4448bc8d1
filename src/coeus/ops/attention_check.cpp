#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include "coeus/ops/attention_report.h"

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What backward needs to know besides the tensors.
struct CheckedCall : torch::CustomClassHolder {
  BlockMask mask;
  double scale = 0;
  AttentionEngine engine = AttentionEngine::kAuto;
  std::shared_ptr<AttentionReport> report;
  std::string layer;
};

/// Low precision is held to float32, so that the difference is the engine's rounding alone.
at::Tensor precise(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
}

double difference(const at::Tensor& got, const at::Tensor& want) {
  if (got.numel() == 0) return 0;
  const double apart = (got.to(want.scalar_type()) - want).abs().max().item<double>();
  const double largest = want.abs().max().item<double>();
  return largest == 0 ? apart : apart / largest;
}

/// The gradients of `compute` at the three inputs, for the given gradient of its output.
template <class Compute>
variable_list gradients(const variable_list& inputs, const at::Tensor& grad_out, Compute compute) {
  const at::AutoGradMode with_gradients(true);
  variable_list leaves;
  for (const at::Tensor& input : inputs) leaves.push_back(input.detach().requires_grad_());
  const at::Tensor out = compute(leaves[0], leaves[1], leaves[2]);
  return torch::autograd::grad({out}, leaves, {grad_out});
}

class CheckedAttention : public torch::autograd::Function<CheckedAttention> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const c10::intrusive_ptr<CheckedCall>& call) {
    const at::Tensor out = attention_by(call->engine, q, k, v, call->mask, call->scale);
    const at::Tensor reference =
        attention_reference(precise(q), precise(k), precise(v), call->mask, call->scale);
    call->report->add_forward_check(call->layer, difference(out, reference));
    context->save_for_backward({q, k, v});
    context->saved_data["call"] = c10::IValue::make_capsule(call);
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list inputs = context->get_saved_variables();
    const auto capsule = context->saved_data["call"].toCapsule();
    const auto& call = static_cast<const CheckedCall&>(*capsule);
    const variable_list got =
        gradients(inputs, grads[0], [&](const auto& q, const auto& k, const auto& v) {
          return attention_by(call.engine, q, k, v, call.mask, call.scale);
        });
    const variable_list want =
        gradients({precise(inputs[0]), precise(inputs[1]), precise(inputs[2])}, precise(grads[0]),
                  [&](const auto& q, const auto& k, const auto& v) {
                    return attention_reference(q, k, v, call.mask, call.scale);
                  });
    call.report->add_backward_check(call.layer, {.grad_q = difference(got[0], want[0]),
                                                 .grad_k = difference(got[1], want[1]),
                                                 .grad_v = difference(got[2], want[2])});
    return {got[0], got[1], got[2], {}};
  }
};

}  // namespace

at::Tensor attention_checked(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const BlockMask& mask, double scale, AttentionEngine engine,
                             const std::shared_ptr<AttentionReport>& report,
                             const std::string& layer) {
  const auto call = c10::make_intrusive<CheckedCall>();
  call->mask = mask;
  call->scale = scale;
  call->engine = engine;
  call->report = report;
  call->layer = layer;
  return CheckedAttention::apply(q, k, v, call);
}

}  // namespace coeus
