#pragma once

#include <ATen/core/Tensor.h>

namespace coeus::nn {

/// While it lives, matrix products on this thread take their inputs in the given dtype
/// (torch.autocast), or not where autocast was on. Ends as it began.
class Autocast {
 public:
  /// What forward has, so that backward can compute it again.
  struct State {
    bool enabled = false;
    at::ScalarType dtype = at::kBFloat16;
  };
  static State current();

  explicit Autocast(const State& state);
  /// float32 turns it off, as in TorchTitan.
  explicit Autocast(at::ScalarType dtype);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  State before_;
};

}  // namespace coeus::nn
