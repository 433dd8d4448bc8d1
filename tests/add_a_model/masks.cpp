#include "add_a_model/masks.h"

namespace coeus::palm {

Masks global_masks() { return {{kGlobalMaskName, mask::causal() & mask::document()}}; }

Masks local_and_global_masks(int64_t window) {
  Masks masks = global_masks();
  masks.emplace(kLocalMaskName, mask::causal() & mask::document() & mask::sliding_window(window));
  return masks;
}

}  // namespace coeus::palm
