// A run whose tensors are cut at random over a number of ranks. For tests.
#pragma once

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "coeus/checkpoint/read_slice.h"
#include "coeus/checkpoint/small_run.h"

namespace coeus {

/// What each rank holds of each tensor.
using Layout = std::vector<HeldSlices>;

class RandomLayouts {
 public:
  explicit RandomLayouts(uint64_t seed) : random_(seed) {}

  int64_t below(int64_t bound) {
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(bound));
  }

  /// Boxes that cover the tensor, of any sizes, none included, for as many ranks as there is luck;
  /// a rank without one of its own has nothing, an empty slice or another's box.
  Layout layout_of(const NamedTensors& tensors, int ranks) {
    Layout layout(static_cast<size_t>(ranks));
    for (const auto& [name, tensor] : tensors) {
      const auto boxes = boxes_of(tensor.sizes().vec(), 1 + below(ranks));
      std::vector<size_t> order(layout.size());
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), random_);
      for (size_t i = 0; i < order.size(); ++i) {
        HeldSlices& held = layout[order[i]];
        if (i < boxes.size()) {
          held[name] = {boxes[i], true};
        } else if (below(3) > 0 || tensor.dim() == 0) {
          held[name] = {boxes[static_cast<size_t>(below(static_cast<int64_t>(boxes.size())))],
                        false};
        } else if (below(2) == 0) {
          const TensorSlice whole = TensorSlice::whole_of(tensor.sizes().vec());
          held[name] = {whole.narrowed(0, below(whole.size[0] + 1), 0), true};
        }
      }
    }
    return layout;
  }

 private:
  std::vector<TensorSlice> boxes_of(std::vector<int64_t> shape, int64_t count) {
    std::vector<TensorSlice> boxes = {TensorSlice::whole_of(std::move(shape))};
    while (static_cast<int64_t>(boxes.size()) < count && !boxes[0].size.empty()) {
      TensorSlice& box = boxes[static_cast<size_t>(below(static_cast<int64_t>(boxes.size())))];
      const auto dim = below(static_cast<int64_t>(box.size.size()));
      const int64_t size = box.size[static_cast<size_t>(dim)];
      const int64_t cut = below(size + 1);
      const TensorSlice rest = box.narrowed(dim, cut, size - cut);
      box = box.narrowed(dim, 0, cut);
      boxes.push_back(rest);
    }
    return boxes;
  }

  std::mt19937_64 random_;
};

/// The part of the tensors that a rank holds: copies, some of them not contiguous.
inline NamedTensors part_of(const NamedTensors& whole, const HeldSlices& held) {
  NamedTensors part;
  for (const auto& [name, tensor] : whole) {
    const auto found = held.find(name);
    if (found == held.end()) continue;
    const at::Tensor own =
        narrowed_to(tensor, TensorSlice::whole_of(tensor.sizes().vec()), found->second.slice);
    part.emplace_back(
        name, own.dim() == 2 ? own.t().clone(at::MemoryFormat::Contiguous).t() : own.clone());
  }
  return part;
}

/// The state of a rank of a run in the given layouts of its model and its optimizer.
inline TrainingState rank_state(const TrainingState& whole, const HeldSlices& model,
                                const HeldSlices& optimizer) {
  TrainingState state;
  state.model = part_of(whole.model, model);
  state.optimizer = part_of(whole.optimizer, optimizer);
  state.states = whole.states;
  state.model_slices = model;
  state.optimizer_slices = optimizer;
  return state;
}

}  // namespace coeus
