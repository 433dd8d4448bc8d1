// Weight gradients that are computed later than the gradients of activations.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/custom_class.h>

#include <functional>
#include <utility>
#include <vector>

namespace torch::autograd {
struct AutogradContext;
}

namespace coeus {

/// Splits a backward pass in two (zero bubble pipeline parallelism, Qi et al., arXiv 2401.10241).
/// What runs forward under a Scope of a queue leaves, when the queue defers by the time of
/// backward, the weight gradients of `linear` and `grouped_linear` to it: backward computes all
/// other gradients, and `compute` then adds these to grad() of the weights, bit for bit as an
/// undivided backward pass would have. A weight that is no leaf, and grouped_linear by tiles, which
/// serves devices in float32, are not left. Hooks on a gradient's accumulation do not run for what
/// is left.
class WeightGradientQueue : public torch::CustomClassHolder {
 public:
  /// While it lives, operations on this thread belong to `queue`; null for none.
  class Scope {
   public:
    explicit Scope(c10::intrusive_ptr<WeightGradientQueue> queue);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    c10::intrusive_ptr<WeightGradientQueue> before_;
  };
  static const c10::intrusive_ptr<WeightGradientQueue>& current();

  /// Whether backward leaves weight gradients from now on. Off at first.
  void set_deferring(bool defers) { defers_ = defers; }
  bool defers() const { return defers_; }

  /// Computes what was left, in the order in which it was, and forgets it.
  void compute();
  /// How many gradients are left to compute.
  size_t size() const { return left_.size(); }

  using Gradient = std::function<at::Tensor()>;
  void push(const at::Tensor& weight, Gradient gradient) {
    left_.emplace_back(weight, std::move(gradient));
  }

 private:
  bool defers_ = false;
  std::vector<std::pair<at::Tensor, Gradient>> left_;
};

/// The current queue, for an operation whose weight's gradient can be left to it; else null:
/// outside a Scope, without gradients to come, and for a weight that is no leaf.
c10::intrusive_ptr<WeightGradientQueue> queue_for(const at::Tensor& weight);

/// What an autograd Function's backward returns for its weight: the gradient, or nothing when it is
/// left to `queue` (may be null). `gradient` may run later and must hold all it needs.
at::Tensor now_or_later(const c10::intrusive_ptr<WeightGradientQueue>& queue,
                        const at::Tensor& weight, WeightGradientQueue::Gradient gradient);

/// The queue that a Function's forward put into its context's saved_data["queue"]; null for none.
c10::intrusive_ptr<WeightGradientQueue> queue_of(torch::autograd::AutogradContext& context);

}  // namespace coeus
