// What the trainer knows of a model.
#pragma once

#include <torch/nn/module.h>

#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "coeus/data/images/image_patches.h"
#include "coeus/mask/block_mask.h"
#include "coeus/mask/sequence_layout.h"
#include "coeus/nn/block.h"
#include "coeus/nn/moe/load_balance.h"
#include "coeus/ops/cross_entropy.h"

namespace coeus {

/// Something that must be selected, shuffled and split along with the tokens.
struct OrderSensitiveBuffer {
  std::string name;            ///< "tokens", "labels", "positions", …
  std::vector<int64_t> shape;  ///< with `batch_size` and `seq_len` as asked for
  int64_t sequence_dim;        ///< the dimension of `shape` that follows the sequence's order
};

/// The images of a batch, in the order in which they stand in its rows.
struct ImageTensors {
  at::Tensor patches;            ///< float32 [1, patches, patch_dim], of all; undefined without
  std::vector<ImageGrid> grids;  ///< one an image
  int64_t token = -1;            ///< stands in the rows for each patch
  at::Tensor order;  ///< int64 [image tokens], the patch of each; undefined: one after another
  /// int64 [image tokens]: where they stand in the rows laid end to end. Undefined: the model looks
  /// for them, for which it waits for the device.
  at::Tensor places;

  int64_t count() const { return patches.defined() ? patches.size(1) : 0; }
};

/// A language model: from tokens, their positions and the masks over them to logits. It does not
/// know how it is sharded or trained.
class Model : public torch::nn::Module {
 public:
  /// tokens: int64 [batch, seq]; positions: int32 [batch, seq], what rotary embedding sees; masks:
  /// as get_attention_masks named them. Returns logits [batch, seq, vocab].
  at::Tensor forward(const at::Tensor& tokens, const at::Tensor& positions,
                     const AttentionMasks& masks);

  /// What training minimises, summed over labels: the loss of the next token, unless the model
  /// predicts more. labels: int64 [batch, seq], kIgnoredLabel for none; the others as in forward.
  virtual at::Tensor loss_sum(const at::Tensor& tokens, const at::Tensor& labels,
                              const at::Tensor& positions, const AttentionMasks& masks);

  /// As forward and loss_sum, for rows whose tokens `images.token` stand for the patches of images,
  /// in the same order; masks: those of get_image_masks too. Throw Error for images in a model of
  /// text alone and for more or fewer patches than such tokens.
  at::Tensor forward_with_images(const at::Tensor& tokens, const at::Tensor& positions,
                                 const AttentionMasks& masks, const ImageTensors& images);
  at::Tensor loss_sum_with_images(const at::Tensor& tokens, const at::Tensor& labels,
                                  const at::Tensor& positions, const AttentionMasks& masks,
                                  const ImageTensors& images);

  /// All of forward_with_images but the last projection: normed hidden states [batch, seq,
  /// hidden_size()].
  virtual at::Tensor hidden_states(const at::Tensor& tokens, const at::Tensor& positions,
                                   const AttentionMasks& masks, const ImageTensors& images) = 0;
  /// The last projection: the logits [batch, seq, vocab] of normed hidden states. A loss uses them
  /// up: on a GPU their gradient takes their place, so no operation may keep them for backward.
  virtual at::Tensor output(const at::Tensor& normed) = 0;
  /// The next token's loss of normed hidden states, summed over labels: cross_entropy_sum_in_place
  /// of their logits, which are never all there where set_loss_chunk_size says so. labels: int64
  /// [batch, seq].
  at::Tensor loss_of(const at::Tensor& normed, const at::Tensor& labels);
  /// By chunks, with `cross_entropy` of each: as linear_cross_entropy_sum with the weight of the
  /// last projection.
  virtual at::Tensor loss_by_chunks(const at::Tensor& normed, const at::Tensor& labels,
                                    int64_t chunk_size, const CrossEntropy& cross_entropy) = 0;

  /// Takes the place of cross_entropy_sum_in_place in all losses: for logits that are spread over
  /// ranks.
  void set_cross_entropy(CrossEntropy f) { cross_entropy_ = std::move(f); }
  /// How many tokens' logits a loss makes at a time; 0, as at first: all at once.
  void set_loss_chunk_size(int64_t tokens) { loss_chunk_size_ = tokens; }

  /// As forward, for tokens that continue those which `cache` has seen: the masks are for these
  /// tokens as queries and all tokens, earlier ones first, as keys. Hands the cache to the blocks
  /// in OrderedInputs and runs without gradients. Throws Error for a model that does not do so.
  virtual at::Tensor forward_cached(const at::Tensor& tokens, const at::Tensor& positions,
                                    const AttentionMasks& masks, nn::KeyValueCache& cache);

  /// The modules between which pipeline parallelism may cut the model, from input to output, by
  /// name
  /// ("layers.3"); of a part, those it has.
  virtual std::vector<std::string> pipeline_modules() const { return {}; }
  /// Releases all of pipeline_modules() but the given ones: the model becomes a part, whose
  /// parameters keep their names. Throws Error for a name that it does not have.
  virtual void keep_modules(const std::vector<std::string>& names);
  /// What the modules that are left, but for the output, make of `input`: tokens as forward takes
  /// them where the first module is among them, else hidden states [batch, seq, hidden_size()].
  /// Returns hidden states, normed where the norm is: for output() and loss_of() in the last part.
  virtual at::Tensor forward_part(const at::Tensor& input, const at::Tensor& positions,
                                  const AttentionMasks& masks);
  /// Why the model cannot be cut into parts ("its output …"); empty when it can.
  virtual std::string pipeline_obstacle() const { return "it has no parts"; }
  /// The width of the hidden states.
  virtual int64_t hidden_size() const { return 0; }

  /// The masks that this model's layers want for a batch of the given rows. Changes nothing and may
  /// be called from any thread.
  virtual AttentionMasks get_attention_masks(std::span<const SequenceLayout> rows) const = 0;

  /// The masks of the layers that see images, for the patches of a batch in one row, each image a
  /// document. None in a model of text alone.
  virtual AttentionMasks get_image_masks(const SequenceLayout&) const { return {}; }

  /// Everything that depends on the order of the sequence and so must follow the tokens wherever
  /// context or pipeline parallelism takes them. Returns one entry a buffer, in any order: its name
  /// among those of a batch, the shape that it has for `batch_size` rows of `seq_len` tokens, and
  /// which dimension of that is the sequence. Nothing is allocated. Masks are not among them: they
  /// are made from the tokens' attributes, which travel with the tokens; nor are tables that are
  /// looked up by position, such as RoPE's, which no order of tokens changes
  /// (docs/composability.md).
  virtual std::vector<OrderSensitiveBuffer> get_order_sensitive_buffers(int64_t batch_size,
                                                                        int64_t seq_len) const = 0;

  /// Takes what it computes with besides parameters to a device: buffers and tables.
  virtual void move_buffers(const at::Device& device);

  /// Draws every parameter anew, as a function of seed and name alone.
  virtual void init_weights(uint64_t seed) = 0;

  /// The trainer calls these around every step. The default serves every model: it does for its
  /// mixture-of-experts layers what a step asks, and nothing in a dense one.
  ///
  /// Before the step's first forward pass; `rows`: how many rows of tokens the step has, in all
  /// forward passes and on all ranks.
  virtual void begin_step(int64_t rows);
  /// After the step's last backward pass and before parameters are updated: moves expert biases.
  /// `updates`, bool [] on the model's device: where false parameters will stay, and so must all
  /// else (see Optimizer::admit).
  virtual void before_optimizer_step(const nn::SumOverRanks& sum_over_ranks = {},
                                     const at::Tensor& updates = {});
  /// Names and values that a logged step has beside its loss and the use of experts (see
  /// nn::expert_usage_metrics), once its passes are over. Waits for the device.
  virtual std::vector<std::pair<std::string, double>> step_metrics() const { return {}; }

  /// The layers from input to output.
  virtual std::vector<nn::Block*> blocks() = 0;
  /// Those that run in every pass: all, unless some see only images.
  virtual std::vector<nn::Block*> decoder_blocks() { return blocks(); }

  /// How many tokens it knows: ids lie in [0, vocab_size).
  virtual int64_t vocab_size() const = 0;

  /// Numbers of a patch of the images that it sees; 0 for a model of text alone.
  virtual int64_t patch_dim() const { return 0; }

  /// Floating-point operations of training on one token (forward and backward) in rows of seq_len,
  /// as TorchTitan counts them: 6 for each parameter that multiplies (not an embedding looked up,
  /// and of experts those that a token sees), and 6 * layers * heads * (key_dim + value_dim) *
  /// seq_len for attention, causal or not.
  virtual double flops_per_token(int64_t seq_len) const = 0;

  /// Bytes that forward keeps for backward for each token of a row of seq_len (an estimate, in
  /// activations of `element_size` bytes, without activation checkpointing): of one block, of the
  /// logits and their gradient, and of all else that stands outside the blocks.
  struct ActivationBytes {
    double block = 0;
    double logits = 0;  ///< of a token whose logits are there
    double outside = 0;
    double block_input = 0;  ///< what a recomputed block keeps
  };
  virtual ActivationBytes activation_bytes_per_token(int64_t element_size) const = 0;

  /// An attention layer's query heads and the widths of its keys and values, which decide what
  /// serves it and what dense scores would take.
  struct AttentionShape {
    int64_t heads = 0;
    int64_t key_dim = 0;
    int64_t value_dim = 0;
    int64_t kv_heads = 0;  ///< heads of keys and values, which query heads share
  };
  virtual AttentionShape attention_shape() const = 0;

  /// How many layers attend under each mask of get_attention_masks(): what each weighs when context
  /// parallelism balances all of them at once. A mask that is not named counts as one layer.
  virtual std::map<std::string, int64_t> layers_by_mask() const { return {}; }

 private:
  CrossEntropy cross_entropy_ = cross_entropy_sum_in_place;
  int64_t loss_chunk_size_ = 0;
};

/// Throws ConfigError unless pipeline parallelism can cut the model; `name`: as it is configured
/// ("qwen3 0.6B").
void check_pipeline(const Model& model, const std::string& name);

/// Throws Error unless the buffers that the model declares to depend on the order of the sequence
/// are those that follow the tokens to their ranks (tokens, labels and positions), each
/// [batch_size, seq_len] with the sequence in dimension 1; `name` as above.
void check_order_sensitive_buffers(const Model& model, const std::string& name, int64_t batch_size,
                                   int64_t seq_len);

/// All parameters by their TorchTitan name ("layers.0.attention.wq.weight"), in order.
std::vector<std::pair<std::string, at::Tensor>> named_parameters_of(const Model& model);

/// Those and all buffers ("layers.1.moe.expert_bias"): what a checkpoint of the model holds.
std::vector<std::pair<std::string, at::Tensor>> checkpoint_tensors_of(const Model& model);

/// Where its parameters are, all on one device.
at::Device device_of(const Model& model);

/// How many values the parameters hold.
int64_t parameter_count(const Model& model);

/// How many of them one token uses, counted as TorchTitan counts: of the experts of all layers, the
/// share top_k / num_experts. All of them in a dense model.
int64_t active_parameter_count(const Model& model);

}  // namespace coeus
