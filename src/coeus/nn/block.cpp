#include "coeus/nn/block.h"

#include <torch/torch.h>

#include "coeus/nn/recompute.h"

namespace coeus::nn {

at::Tensor Block::run(const at::Tensor& h, const OrderedInputs& inputs) {
  if (!recompute_) return forward(h, inputs);
  // By value: backward runs this after the caller's inputs are gone. Masks are cheap to copy.
  return recompute(
      [this, positions = inputs.positions, rope_table = inputs.rope_table,
       masks = *inputs.masks](const at::Tensor& x) {
        return forward(x, {positions, rope_table, &masks});
      },
      h);
}

}  // namespace coeus::nn
