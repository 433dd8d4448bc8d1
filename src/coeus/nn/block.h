#pragma once

#include <torch/nn/module.h>

#include "coeus/mask/block_mask.h"

namespace coeus::nn {

/// What the order of tokens decides, as every block of a model receives it.
struct OrderedInputs {
  at::Tensor positions;   ///< int32 [batch, seq]
  at::Tensor rope_table;  ///< float32 [positions, head_dim / 2, 2]
  const AttentionMasks* masks = nullptr;
};

/// A layer of a model, from hidden state to hidden state [batch, seq, dim]: the unit that
/// activation checkpointing recomputes, and that other parallelisms will shard and place.
class Block : public torch::nn::Module {
 public:
  /// The layer's own computation.
  virtual at::Tensor forward(const at::Tensor& h, const OrderedInputs& inputs) = 0;

  /// `forward`, kept or recomputed in backward as set.
  at::Tensor run(const at::Tensor& h, const OrderedInputs& inputs);

  /// Whether backward computes this block's intermediate results again instead of keeping them.
  void set_recompute(bool recompute) { recompute_ = recompute; }
  bool is_recomputed() const { return recompute_; }

 private:
  bool recompute_ = false;
};

}  // namespace coeus::nn
