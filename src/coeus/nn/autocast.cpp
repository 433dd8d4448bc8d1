#include "coeus/nn/autocast.h"

#include <ATen/autocast_mode.h>

namespace coeus::nn {

namespace {

void set(const Autocast::State& state) {
  // Of whichever device the model is on.
  for (const at::DeviceType device : {at::kCPU, at::kCUDA}) {
    at::autocast::set_autocast_enabled(device, state.enabled);
    at::autocast::set_autocast_dtype(device, state.dtype);
  }
}

}  // namespace

Autocast::State Autocast::current() {
  return {at::autocast::is_autocast_enabled(at::kCPU), at::autocast::get_autocast_dtype(at::kCPU)};
}

Autocast::Autocast(const State& state) : before_(current()) { set(state); }

Autocast::Autocast(at::ScalarType dtype)
    : Autocast(dtype == at::kFloat ? State{false, current().dtype} : State{true, dtype}) {}

Autocast::~Autocast() { set(before_); }

Autocast::Nesting::Nesting() { at::autocast::increment_nesting(); }
Autocast::Nesting::~Nesting() {
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
}

}  // namespace coeus::nn
