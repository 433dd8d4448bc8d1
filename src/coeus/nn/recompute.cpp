#include "coeus/nn/recompute.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <optional>

#include "coeus/base/error.h"
#include "coeus/nn/autocast.h"
#include "coeus/ops/weight_gradient_queue.h"

namespace coeus::nn {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Function = std::function<at::Tensor(const at::Tensor&)>;

/// Set while a region runs, whose first run has gradients off though it is training's.
thread_local std::optional<ForwardPass> pass_of_region;

class InPass {
 public:
  explicit InPass(ForwardPass pass) : before_(pass_of_region) { pass_of_region = pass; }
  ~InPass() { pass_of_region = before_; }

 private:
  std::optional<ForwardPass> before_;
};

/// What backward runs again, and how.
struct Region : torch::CustomClassHolder {
  Function function;
  Autocast::State autocast;
  std::optional<KeptResults> kept;
  c10::intrusive_ptr<WeightGradientQueue> weight_gradients;

  at::Tensor run(const at::Tensor& x, KeptResults::Run::Mode mode) {
    if (!kept) return function(x);
    const KeptResults::Run keeping(*kept, mode);
    return function(x);
  }
};

class Recompute : public torch::autograd::Function<Recompute> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const c10::intrusive_ptr<Region>& region) {
    context->save_for_backward({x});
    context->saved_data["region"] = at::IValue::make_capsule(region);
    const at::AutoGradMode no_grad(false);
    const InPass training(ForwardPass::kTraining);
    return region->run(x, KeptResults::Run::Mode::kKeep);
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto region =
        c10::static_intrusive_pointer_cast<Region>(context->saved_data["region"].toCapsule());
    at::Tensor x = context->get_saved_variables()[0].detach().requires_grad_();
    const at::AutoGradMode with_grad(true);
    at::Tensor out;
    {
      // Ends before backward, which runs without autocast when nothing is recomputed.
      const Autocast as_in_forward(region->autocast);
      const WeightGradientQueue::Scope leaving_to(region->weight_gradients);
      const InPass recomputation(ForwardPass::kRecomputation);
      out = region->run(x, KeptResults::Run::Mode::kTake);
    }
    torch::autograd::backward({out}, {grads[0]});
    return {x.grad(), {}};
  }
};

}  // namespace

ForwardPass forward_pass() {
  if (pass_of_region) return *pass_of_region;
  return at::GradMode::is_enabled() ? ForwardPass::kTraining : ForwardPass::kInference;
}

namespace {

at::Tensor run_region(const Function& f, const at::Tensor& x, std::optional<KeptResults> kept) {
  if (!at::GradMode::is_enabled()) return f(x);
  COEUS_CHECK(
      x.requires_grad(),
      "[recompute] the input does not require a gradient, so backward would not run f again");
  auto region = c10::make_intrusive<Region>();
  region->function = f;
  region->autocast = Autocast::current();
  region->kept = std::move(kept);
  region->weight_gradients = WeightGradientQueue::current();
  return Recompute::apply(x, region);
}

}  // namespace

at::Tensor recompute(const Function& f, const at::Tensor& x) { return run_region(f, x, {}); }

at::Tensor recompute_by_operation(const Function& f, const at::Tensor& x, const KeptResults& kept) {
  return run_region(f, x, kept);
}

}  // namespace coeus::nn
