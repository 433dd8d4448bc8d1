#include "coeus/nn/autocast.h"

#include <ATen/autocast_mode.h>

namespace coeus::nn {

namespace {

void set(const Autocast::State& state) {
  at::autocast::set_autocast_enabled(at::kCPU, state.enabled);
  at::autocast::set_autocast_dtype(at::kCPU, state.dtype);
}

}  // namespace

Autocast::State Autocast::current() {
  return {at::autocast::is_autocast_enabled(at::kCPU), at::autocast::get_autocast_dtype(at::kCPU)};
}

Autocast::Autocast(const State& state) : before_(current()) { set(state); }

Autocast::Autocast(at::ScalarType dtype)
    : Autocast(dtype == at::kFloat ? State{false, current().dtype} : State{true, dtype}) {}

Autocast::~Autocast() {
  // Weights that were cast are kept until here; the optimizer changes them next.
  at::autocast::clear_cache();
  set(before_);
}

}  // namespace coeus::nn
