#include "coeus/ops/weight_gradient_queue.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

namespace coeus {

namespace {

thread_local c10::intrusive_ptr<WeightGradientQueue> queue_of_thread;

}  // namespace

WeightGradientQueue::Scope::Scope(c10::intrusive_ptr<WeightGradientQueue> queue)
    : before_(std::exchange(queue_of_thread, std::move(queue))) {}

WeightGradientQueue::Scope::~Scope() { queue_of_thread = std::move(before_); }

const c10::intrusive_ptr<WeightGradientQueue>& WeightGradientQueue::current() {
  return queue_of_thread;
}

void WeightGradientQueue::compute() {
  const at::NoGradGuard no_grad;
  for (auto& [weight, gradient] : std::exchange(left_, {})) {
    const at::Tensor computed = gradient();
    gradient = nullptr;  // what it held is not needed any more
    at::Tensor& sum = weight.mutable_grad();
    if (sum.defined())
      sum.add_(computed);
    else
      sum = computed;
  }
}

c10::intrusive_ptr<WeightGradientQueue> queue_for(const at::Tensor& weight) {
  const bool can_wait = at::GradMode::is_enabled() && weight.is_leaf() && weight.requires_grad();
  return can_wait ? WeightGradientQueue::current() : nullptr;
}

c10::intrusive_ptr<WeightGradientQueue> queue_of(torch::autograd::AutogradContext& context) {
  const auto found = context.saved_data.find("queue");
  if (found == context.saved_data.end()) return {};
  return c10::static_intrusive_pointer_cast<WeightGradientQueue>(found->second.toCapsule());
}

at::Tensor now_or_later(const c10::intrusive_ptr<WeightGradientQueue>& queue,
                        const at::Tensor& weight, WeightGradientQueue::Gradient gradient) {
  if (queue == nullptr || !queue->defers()) return gradient();
  queue->push(weight, std::move(gradient));
  return {};
}

}  // namespace coeus
