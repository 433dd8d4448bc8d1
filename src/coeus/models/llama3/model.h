// Llama 3 (arXiv 2407.21783), with TorchTitan's parameter names and initialisation.
#pragma once

#include <optional>

#include "coeus/mask/mask.h"
#include "coeus/models/decoder.h"
#include "coeus/nn/attention.h"
#include "coeus/nn/feed_forward.h"
#include "coeus/nn/rms_norm.h"
#include "coeus/nn/rope.h"

namespace coeus::llama3 {

/// What a flavour fixes.
struct Sizes {
  int64_t dim = 4096;
  int64_t n_layers = 32;
  int64_t n_heads = 32;
  int64_t n_kv_heads = 32;
  int64_t vocab_size = 128256;
  /// The feed-forward's hidden size is 8/3 dim, times the multiplier, rounded up to a multiple.
  int64_t multiple_of = 256;
  double ffn_dim_multiplier = 1.0;
  double norm_eps = 1e-5;
  double rope_theta = 500000;
  std::optional<nn::RopeScaling> rope_scaling = nn::RopeScaling{};
  /// Positions that the rotary table holds: the run's sequence length.
  int64_t max_seq_len = 131072;
  /// Whether a layer's initial weights shrink with its own depth or with the model's.
  bool depth_init = true;
  /// Whether the output multiplies by the embedding's weight, which is then the one parameter
  /// tok_embeddings.weight.
  bool enable_weight_tying = false;
  Mask mask = mask::causal();

  int64_t head_dim() const { return dim / n_heads; }
  int64_t hidden_dim() const;
};

/// h + attention(norm(h)), then h + feed_forward(norm(h)).
class TransformerBlock : public nn::Block {
 public:
  TransformerBlock(int64_t layer_id, const Sizes& sizes, AttentionEngine engine,
                   const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& h, const nn::OrderedInputs& inputs) override;
  void init_weights(uint64_t seed, const std::string& prefix) override;

 private:
  double init_std_;
  nn::Attention attention_{nullptr};
  nn::FeedForward feed_forward_{nullptr};
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

 private:
  double block_bytes_per_token(double element_size) const override;

  Sizes sizes_;
};

}  // namespace coeus::llama3
