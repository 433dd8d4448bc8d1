#include "coeus/checkpoint/staged_copy.h"

#include <torch/types.h>

namespace coeus {

namespace {

NamedTensors copied(const NamedTensors& tensors, const HeldSlices& slices, bool pinned) {
  at::NoGradGuard no_grad;
  NamedTensors copies;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor source = tensor.detach();
    if (!held_slice(slices, name, source).is_writer) {
      copies.emplace_back(name, source);
      continue;
    }
    const auto options = at::TensorOptions()
                             .dtype(source.scalar_type())
                             .device(at::kCPU)
                             .pinned_memory(pinned && source.is_cuda());
    copies.emplace_back(name, at::empty(source.sizes(), options).copy_(source));
  }
  return copies;
}

}  // namespace

TrainingState staged_copy(const TrainingState& state, bool pinned) {
  TrainingState copy = state;
  copy.model = copied(state.model, state.model_slices, pinned);
  copy.optimizer = copied(state.optimizer, state.optimizer_slices, pinned);
  return copy;
}

}  // namespace coeus
