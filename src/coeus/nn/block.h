#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "coeus/mask/block_mask.h"
#include "coeus/nn/key_value_cache.h"
#include "coeus/nn/layer.h"
#include "coeus/ops/kept_results.h"

namespace coeus::nn {

/// What the order of tokens decides, as every block of a model receives it.
struct OrderedInputs {
  at::Tensor positions;   ///< int32 [batch, seq]
  at::Tensor rope_table;  ///< float32 [positions, head_dim / 2, 2]
  const AttentionMasks* masks = nullptr;
  /// Keys and values of earlier tokens, for decoding token by token; the masks are then for the new
  /// tokens as queries and all tokens as keys. Attention layers extend it. Null in training.
  KeyValueCache* cache = nullptr;
};

/// A layer of a model, from hidden state to hidden state [batch, seq, dim]: the unit that
/// activation checkpointing recomputes, and that other parallelisms will shard and place.
class Block : public Layer {
 public:
  /// The layer's own computation.
  virtual at::Tensor forward(const at::Tensor& h, const OrderedInputs& inputs) = 0;

  /// Draws every parameter anew, as a function of seed and name alone. `prefix` is the block's name
  /// in its model ("layers.0").
  virtual void init_weights(uint64_t seed, const std::string& prefix) = 0;

  /// `forward`, kept or recomputed in backward as set; with a cache, there is no backward.
  at::Tensor run(const at::Tensor& h, const OrderedInputs& inputs);

  /// Whether backward computes this block's intermediate results again instead of keeping them.
  void set_recompute(bool recompute) {
    recompute_ = recompute;
    kept_.reset();
  }
  bool is_recomputed() const { return recompute_; }
  /// Recomputes all but what `kept` takes in (see ops/kept_results.h).
  void set_recompute_by_operation(KeptResults kept) {
    recompute_ = true;
    kept_ = std::move(kept);
  }
  bool is_recomputed_by_operation() const { return kept_.has_value(); }

  /// Called with input and output of every `run`: a look inside for whoever searches a bad value.
  using Observer = std::function<void(const at::Tensor& input, const at::Tensor& output)>;
  void set_observer(Observer observer) { observer_ = std::move(observer); }

 private:
  at::Tensor kept_or_recomputed(const at::Tensor& h, const OrderedInputs& inputs);

  bool recompute_ = false;
  std::optional<KeptResults> kept_;
  Observer observer_;
};

}  // namespace coeus::nn
