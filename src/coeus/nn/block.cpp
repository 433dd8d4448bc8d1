#include "coeus/nn/block.h"

#include <torch/types.h>

#include "coeus/nn/recompute.h"

namespace coeus::nn {

at::Tensor Block::run(const at::Tensor& input, const OrderedInputs& inputs) {
  const at::Tensor h = entered(input);
  const at::Tensor out = left(kept_or_recomputed(h, inputs));
  if (observer_) observer_(h, out);
  return out;
}

at::Tensor Block::kept_or_recomputed(const at::Tensor& h, const OrderedInputs& inputs) {
  if (!recompute_ || inputs.cache != nullptr) return forward(h, inputs);
  // By value: backward runs this after the caller's inputs are gone. Masks are cheap to copy.
  const auto again = [this, positions = inputs.positions, rope_table = inputs.rope_table,
                      masks = *inputs.masks](const at::Tensor& x) {
    return forward(x, {positions, rope_table, &masks});
  };
  return kept_ ? recompute_by_operation(again, h, *kept_) : recompute(again, h);
}

}  // namespace coeus::nn
