// What the trainer knows of a model.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "coeus/mask/block_mask.h"
#include "coeus/mask/sequence_layout.h"
#include "coeus/nn/block.h"

namespace coeus {

/// Something that must be selected, shuffled and split along with the tokens.
struct OrderSensitiveBuffer {
  std::string name;            ///< "tokens", "labels", "positions", …
  std::vector<int64_t> shape;  ///< with `batch_size` and `seq_len` as asked for
  int64_t sequence_dim;        ///< the dimension of `shape` that follows the sequence's order
};

/// A language model: from tokens, their positions and the masks over them to logits. It does not
/// know how it is sharded or trained.
class Model : public torch::nn::Module {
 public:
  /// tokens: int64 [batch, seq]; positions: int32 [batch, seq], what rotary embedding sees; masks:
  /// as get_attention_masks named them. Returns logits [batch, seq, vocab].
  virtual at::Tensor forward(const at::Tensor& tokens, const at::Tensor& positions,
                             const AttentionMasks& masks) = 0;

  /// The masks that this model's layers want for a batch of the given rows. Changes nothing and may
  /// be called from any thread.
  virtual AttentionMasks get_attention_masks(std::span<const SequenceLayout> rows) const = 0;

  /// Everything that depends on the order of the sequence and so must follow the tokens wherever
  /// context or pipeline parallelism takes them. Masks are not among them: they are made from the
  /// tokens' attributes, which travel with the tokens.
  virtual std::vector<OrderSensitiveBuffer> get_order_sensitive_buffers(int64_t batch_size,
                                                                        int64_t seq_len) const = 0;

  /// Draws every parameter anew, as a function of seed and name alone.
  virtual void init_weights(uint64_t seed) = 0;

  /// The layers from input to output.
  virtual std::vector<nn::Block*> blocks() = 0;

  /// How many tokens it knows: ids lie in [0, vocab_size).
  virtual int64_t vocab_size() const = 0;

  /// Floating-point operations of training on one token (forward and backward) in rows of seq_len,
  /// as TorchTitan counts them: 6 for each parameter but the embedding's, and 12 * layers * heads *
  /// head_dim * seq_len for attention, causal or not.
  virtual double flops_per_token(int64_t seq_len) const = 0;

  /// Bytes that forward keeps for backward for each token of a row of seq_len (an estimate, in
  /// activations of `element_size` bytes, without activation checkpointing): of one block, and of
  /// all that stands outside the blocks.
  struct ActivationBytes {
    double block = 0;
    double outside = 0;
    double block_input = 0;  ///< what a recomputed block keeps
  };
  virtual ActivationBytes activation_bytes_per_token(int64_t element_size) const = 0;
};

/// All parameters by their TorchTitan name ("layers.0.attention.wq.weight"), in order.
std::vector<std::pair<std::string, at::Tensor>> named_parameters_of(const Model& model);

/// How many values they hold.
int64_t parameter_count(const Model& model);

}  // namespace coeus
