#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <functional>
#include <utility>

#include "coeus/mask/block_mask.h"

namespace coeus::nn {

/// The rows of a batch with all of their tokens, for what must see a token's neighbours. In one
/// process they are whole as they are; where ranks share tokens out, whoever spreads them puts an
/// exchange in. It has no parameters. `mask`: any of the batch's.
class WholeRowsImpl : public torch::nn::Module {
 public:
  /// x: [batch, this rank's tokens], without a gradient. Returns [batch, all tokens], in the rows'
  /// order.
  at::Tensor gathered(const at::Tensor& x, const BlockMask& mask) const {
    return mask.is_sharded() && gather_ ? gather_(x, mask) : x;
  }
  /// x: [batch, all tokens]. Returns [batch, this rank's tokens].
  at::Tensor own(const at::Tensor& x, const BlockMask& mask) const {
    return mask.is_sharded() && select_ ? select_(x, mask) : x;
  }

  using Exchange = std::function<at::Tensor(const at::Tensor& x, const BlockMask& mask)>;
  void set_exchange(Exchange gather, Exchange select) {
    gather_ = std::move(gather);
    select_ = std::move(select);
  }

 private:
  Exchange gather_;
  Exchange select_;
};
TORCH_MODULE(WholeRows);

}  // namespace coeus::nn
