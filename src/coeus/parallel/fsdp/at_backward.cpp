#include "coeus/parallel/fsdp/at_backward.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Call : torch::CustomClassHolder {
  std::function<void()> function;
};

class AtBackward : public torch::autograd::Function<AtBackward> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const c10::intrusive_ptr<Call>& call) {
    context->saved_data["call"] = at::IValue::make_capsule(call);
    return x.view_as(x);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    c10::static_intrusive_pointer_cast<Call>(context->saved_data["call"].toCapsule())->function();
    return {grads[0], {}};
  }
};

}  // namespace

at::Tensor at_backward(const at::Tensor& x, std::function<void()> f) {
  if (!at::GradMode::is_enabled() || !x.requires_grad()) return x;
  auto call = c10::make_intrusive<Call>();
  call->function = std::move(f);
  return AtBackward::apply(x, call);
}

}  // namespace coeus
