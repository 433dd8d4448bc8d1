// Qwen 3 (arXiv 2505.09388), dense and with a mixture of experts, with TorchTitan's parameter names
// and initialisation.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "coeus/mask/mask.h"
#include "coeus/models/decoder.h"
#include "coeus/models/qwen3/attention.h"
#include "coeus/nn/feed_forward.h"
#include "coeus/nn/moe/moe.h"

namespace coeus::qwen3 {

/// What a flavour fixes.
struct Sizes {
  int64_t dim = 1024;
  int64_t n_layers = 28;
  int64_t n_heads = 16;
  int64_t n_kv_heads = 8;
  int64_t head_dim = 128;
  int64_t vocab_size = 151936;
  /// Of the feed-forward layers, where they are not mixtures of experts.
  int64_t hidden_dim = 3072;
  bool qk_norm = true;
  double norm_eps = 1e-6;
  double rope_theta = 1e6;
  /// Positions that the rotary table holds: the run's sequence length.
  int64_t max_seq_len = 4096;
  /// Whether a layer's initial weights shrink with its own depth or with the model's.
  bool depth_init = true;
  /// Whether the output multiplies by the embedding's weight, which is then the one parameter
  /// tok_embeddings.weight.
  bool enable_weight_tying = false;
  /// Layers are mixtures of experts of moe_hidden_dim each, or none is: of every so many the last,
  /// but for those in dense_layers.
  std::optional<nn::MoEOptions> moe;
  int64_t moe_hidden_dim = 768;
  int64_t moe_layer_step = 1;
  std::vector<int64_t> dense_layers;
  Mask mask = mask::causal();

  bool is_moe(int64_t layer_id) const {
    return moe && (layer_id + 1) % moe_layer_step == 0 &&
           std::find(dense_layers.begin(), dense_layers.end(), layer_id) == dense_layers.end();
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
  Attention attention_{nullptr};
  nn::FeedForward feed_forward_{nullptr};  ///< null with experts
  nn::MoE moe_{nullptr};                   ///< null without
  nn::RMSNorm attention_norm_{nullptr};
  nn::RMSNorm ffn_norm_{nullptr};
};

class Transformer : public Decoder {
 public:
  Transformer(const Sizes& sizes, AttentionEngine engine, const at::TensorOptions& options);

  const Sizes& sizes() const { return sizes_; }
  AttentionShape attention_shape() const override {
    return {sizes_.n_heads, sizes_.head_dim, sizes_.head_dim, sizes_.n_kv_heads};
  }

 private:
  double block_bytes_per_token(double element_size) const override;

  Sizes sizes_;
};

}  // namespace coeus::qwen3
