// What all layers have in common: places for whoever splits a model over ranks to step in.
#pragma once

#include <torch/nn/module.h>

#include <functional>
#include <vector>

namespace coeus::nn {

/// A module whose forward can be wrapped from outside. Its own code is that of a single device; how
/// inputs reach it from other ranks, and where outputs go, are hooks that a parallelism adds.
class Layer : public torch::nn::Module {
 public:
  using Hook = std::function<at::Tensor(const at::Tensor&)>;
  /// Runs on forward's first argument, before it; a hook added later runs later.
  void add_input_hook(Hook hook) { input_hooks_.push_back(std::move(hook)); }
  /// Runs on forward's result; a hook added later runs later.
  void add_output_hook(Hook hook) { output_hooks_.push_back(std::move(hook)); }

 protected:
  /// What forward works on, and what it returns.
  at::Tensor entered(const at::Tensor& x) const { return through(input_hooks_, x); }
  at::Tensor left(const at::Tensor& y) const { return through(output_hooks_, y); }
  /// Whether `entered` may change its argument.
  bool has_input_hooks() const { return !input_hooks_.empty(); }

 private:
  static at::Tensor through(const std::vector<Hook>& hooks, at::Tensor x) {
    for (const Hook& hook : hooks) x = hook(x);
    return x;
  }

  std::vector<Hook> input_hooks_;
  std::vector<Hook> output_hooks_;
};

}  // namespace coeus::nn
