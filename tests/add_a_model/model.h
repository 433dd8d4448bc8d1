// PaLM's transformer (Chowdhery et al., arXiv 2204.02311), with RMSNorm for its LayerNorm.
#pragma once

#include "add_a_model/masks.h"
#include "coeus/models/decoder.h"
#include "coeus/nn/attention.h"
#include "coeus/nn/feed_forward.h"
#include "coeus/nn/rms_norm.h"

namespace coeus::palm {

/// What a flavour fixes.
struct Sizes {
  int64_t dim = 4096;
  int64_t n_layers = 32;
  int64_t n_heads = 16;
  int64_t n_kv_heads = 1;  ///< all query heads share one key head
  int64_t head_dim = 256;
  int64_t hidden_dim = 16384;
  int64_t vocab_size = 256000;
  double norm_eps = 1e-6;
  double rope_theta = 10000;
  /// Positions that the rotary table holds: the run's sequence length.
  int64_t max_seq_len = 2048;
  Masks masks = global_masks();

  /// The name of the mask that a layer takes.
  const char* mask_name(int64_t layer_id) const {
    return layer_id % 2 == 0 && masks.contains(kLocalMaskName) ? kLocalMaskName : kGlobalMaskName;
  }
};

/// h + attention(norm(h)) + feed_forward(norm(h)): both halves of a layer read the same input.
class ParallelBlock : public nn::Block {
 public:
  ParallelBlock(int64_t layer_id, const Sizes& sizes, AttentionEngine engine,
                const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& h, const nn::OrderedInputs& inputs) override;
  void init_weights(uint64_t seed, const std::string& prefix) override;

 private:
  std::string mask_name_;
  double out_std_;
  nn::Attention attention_{nullptr};
  nn::FeedForward feed_forward_{nullptr};
  nn::RMSNorm norm_{nullptr};
};

class Transformer : public Decoder {
 public:
  Transformer(const Sizes& sizes, AttentionEngine engine, const at::TensorOptions& options);

  AttentionShape attention_shape() const override {
    return {sizes_.n_heads, sizes_.head_dim, sizes_.head_dim, sizes_.n_kv_heads};
  }
  std::map<std::string, int64_t> layers_by_mask() const override;

 private:
  double block_bytes_per_token(double element_size) const override;

  Sizes sizes_;
};

}  // namespace coeus::palm
