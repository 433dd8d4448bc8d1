#pragma once

#include <ATen/core/Tensor.h>

namespace coeus::nn {

/// While it lives, matrix products on this thread take their inputs in the given dtype
/// (torch.autocast), or not where autocast was on. Ends as it began, and the outermost forgets the
/// weights that were cast, which the optimizer changes next.
class Autocast {
 public:
  /// What forward has, so that backward can compute it again.
  struct State {
    bool enabled = false;
    at::ScalarType dtype = at::kBFloat16;
  };
  static State current();

  /// While it lives, this thread keeps the weights that are cast: so that several forward passes
  /// share them, with backward passes in between. Turns nothing on.
  class Nesting {
   public:
    Nesting();
    ~Nesting();
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
  };

  explicit Autocast(const State& state);
  /// float32 turns it off, as in TorchTitan.
  explicit Autocast(at::ScalarType dtype);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  const Nesting nesting_;
  State before_;
};

}  // namespace coeus::nn
