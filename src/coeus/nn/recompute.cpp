#include "coeus/nn/recompute.h"

#include <ATen/autocast_mode.h>
#include <torch/torch.h>

#include "coeus/base/error.h"

namespace coeus::nn {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Function = std::function<at::Tensor(const at::Tensor&)>;

/// Runs f as forward ran it: backward happens outside the autocast region.
class AutocastAsInForward {
 public:
  AutocastAsInForward(bool enabled, at::ScalarType dtype)
      : enabled_(at::autocast::is_autocast_enabled(at::kCPU)),
        dtype_(at::autocast::get_autocast_dtype(at::kCPU)) {
    at::autocast::set_autocast_enabled(at::kCPU, enabled);
    at::autocast::set_autocast_dtype(at::kCPU, dtype);
  }
  ~AutocastAsInForward() {
    // Casts cached here are of weights that the optimizer is about to change.
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, enabled_);
    at::autocast::set_autocast_dtype(at::kCPU, dtype_);
  }

 private:
  bool enabled_;
  at::ScalarType dtype_;
};

/// What backward runs again, and how.
struct Region : torch::CustomClassHolder {
  Function function;
  bool autocast;
  at::ScalarType autocast_dtype;
};

class Recompute : public torch::autograd::Function<Recompute> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const c10::intrusive_ptr<Region>& region) {
    context->save_for_backward({x});
    context->saved_data["region"] = at::IValue::make_capsule(region);
    at::AutoGradMode no_grad(false);
    return region->function(x);
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto region =
        c10::static_intrusive_pointer_cast<Region>(context->saved_data["region"].toCapsule());
    at::Tensor x = context->get_saved_variables()[0].detach().requires_grad_();
    const at::AutoGradMode with_grad(true);
    at::Tensor out;
    {
      // Ends before backward, which runs without autocast when nothing is recomputed.
      const AutocastAsInForward autocast(region->autocast, region->autocast_dtype);
      out = region->function(x);
    }
    torch::autograd::backward({out}, {grads[0]});
    return {x.grad(), {}};
  }
};

}  // namespace

at::Tensor recompute(const Function& f, const at::Tensor& x) {
  if (!at::GradMode::is_enabled()) return f(x);
  COEUS_CHECK(
      x.requires_grad(),
      "[recompute] the input does not require a gradient, so backward would not run f again");
  auto region = c10::make_intrusive<Region>();
  region->function = f;
  region->autocast = at::autocast::is_autocast_enabled(at::kCPU);
  region->autocast_dtype = at::autocast::get_autocast_dtype(at::kCPU);
  return Recompute::apply(x, region);
}

}  // namespace coeus::nn
