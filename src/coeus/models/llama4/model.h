// Llama 4's text model, with TorchTitan's parameter names and initialisation: Llama 3 with mixtures
// of experts between dense layers and, in its `irope` flavours, layers without rotary positions.
#pragma once

#include <optional>
#include <vector>

#include "coeus/models/decoder.h"
#include "coeus/models/llama4/masks.h"
#include "coeus/nn/attention.h"
#include "coeus/nn/feed_forward.h"
#include "coeus/nn/moe/moe.h"
#include "coeus/nn/rms_norm.h"
#include "coeus/nn/rope.h"

namespace coeus::llama4 {

/// What a flavour fixes.
struct Sizes {
  int64_t dim = 5120;
  int64_t n_layers = 48;
  int64_t n_heads = 40;
  int64_t n_kv_heads = 8;
  int64_t vocab_size = 202048;
  /// A dense layer's hidden size is 8/3 dim, times the multiplier, rounded up to a multiple. An
  /// expert's is divided before it is rounded, so that the experts of one token add up to it.
  int64_t multiple_of = 256;
  double ffn_dim_multiplier = 1.0;
  bool auto_scale_hidden_dim = true;
  /// Every so many layers, counted from the first, the last is a mixture of experts.
  int64_t interleave_moe_layer_step = 2;
  nn::MoEOptions moe;
  double norm_eps = 1e-5;
  double rope_theta = 500000;
  std::optional<nn::RopeScaling> rope_scaling;
  /// Every so many layers, counted from the first, the first has no rotary positions; 0: all have.
  int64_t every_n_layers_nope = 0;
  /// Positions that the rotary table holds: the run's sequence length.
  int64_t max_seq_len = 1048576;
  /// Whether a layer's initial weights shrink with its own depth or with the model's.
  bool depth_init = true;
  /// By name: kMaskName of all layers, or kRopeMaskName and kNopeMaskName.
  Masks masks = causal_masks();

  /// What published models have beside: queries and keys of rotary layers have a norm, those
  /// without positions a temperature.
  bool qk_norm = false;
  std::optional<nn::AttentionTemperature> temperature;
  /// Sizes and layers as they are, where no rule above gives them.
  struct Given {
    int64_t head_dim = 0;
    int64_t hidden_dim = 0;
    int64_t expert_hidden_dim = 0;
    std::vector<bool> moe_layers;   ///< for each layer, whether it is a mixture of experts
    std::vector<bool> nope_layers;  ///< for each layer, whether it has no rotary positions
  };
  std::optional<Given> given;

  int64_t head_dim() const { return given ? given->head_dim : dim / n_heads; }
  int64_t hidden_dim() const;
  int64_t expert_hidden_dim() const;
  bool is_moe(int64_t layer_id) const {
    return given ? given->moe_layers.at(layer_id) : (layer_id + 1) % interleave_moe_layer_step == 0;
  }
  /// The name of the mask that a layer takes.
  const char* mask_name(int64_t layer_id) const {
    if (masks.contains(kMaskName)) return kMaskName;
    return is_nope(layer_id) ? kNopeMaskName : kRopeMaskName;
  }
  bool is_nope(int64_t layer_id) const {
    return given ? given->nope_layers.at(layer_id)
                 : every_n_layers_nope > 0 && layer_id % every_n_layers_nope == 0;
  }
};

/// h + attention(norm(h)), then h + feed_forward(norm(h)) or h + moe(norm(h)).
class TransformerBlock : public nn::Block {
 public:
  TransformerBlock(int64_t layer_id, const Sizes& sizes, AttentionEngine engine,
                   const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& h, const nn::OrderedInputs& inputs) override;
  void init_weights(uint64_t seed, const std::string& prefix) override;

 private:
  double init_std_;
  std::string mask_name_;
  nn::Attention attention_{nullptr};
  nn::FeedForward feed_forward_{nullptr};  ///< null in a layer of experts
  nn::MoE moe_{nullptr};                   ///< null in a dense layer
  nn::RMSNorm attention_norm_{nullptr};
  nn::RMSNorm ffn_norm_{nullptr};
};

class Transformer : public Decoder {
 public:
  Transformer(const Sizes& sizes, AttentionEngine engine, const at::TensorOptions& options);

  const Sizes& sizes() const { return sizes_; }
  AttentionShape attention_shape() const override {
    return {sizes_.n_heads, sizes_.head_dim(), sizes_.head_dim(), sizes_.n_kv_heads};
  }
  std::map<std::string, int64_t> layers_by_mask() const override;

 private:
  double block_bytes_per_token(double element_size) const override;

  Sizes sizes_;
};

}  // namespace coeus::llama4
