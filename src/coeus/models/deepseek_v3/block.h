// A layer of DeepSeek-V3, and the sizes of the model.
#pragma once

#include <optional>
#include <string>

#include "coeus/mask/mask.h"
#include "coeus/models/deepseek_v3/attention.h"
#include "coeus/nn/block.h"
#include "coeus/nn/feed_forward.h"
#include "coeus/nn/moe/moe.h"
#include "coeus/nn/rms_norm.h"
#include "coeus/nn/yarn.h"

namespace coeus::deepseek_v3 {

/// What a flavour fixes.
struct Sizes {
  int64_t dim = 2048;
  int64_t n_layers = 27;
  /// The first so many layers have a feed-forward layer of hidden_dim; the others are mixtures of
  /// experts of moe_hidden_dim each.
  int64_t n_dense_layers = 1;
  int64_t n_heads = 16;
  int64_t vocab_size = 102400;
  int64_t hidden_dim = 10944;
  int64_t moe_hidden_dim = 1408;
  nn::MoEOptions moe;

  int64_t q_lora_rank = 0;
  int64_t kv_lora_rank = 512;
  int64_t qk_nope_head_dim = 128;
  int64_t qk_rope_head_dim = 64;
  int64_t v_head_dim = 128;

  /// Layers that predict further tokens: see multi_token_prediction.h.
  int64_t n_prediction_layers = 0;
  /// What their losses' mean counts beside the next token's.
  double prediction_loss_weight = 0.3;

  double norm_eps = 1e-5;
  /// Of the norms of attention's latents, where it is another.
  std::optional<double> latent_norm_eps;
  /// The last norm's: TorchTitan leaves it to PyTorch, which takes float32's machine epsilon.
  double final_norm_eps = 1.1920928955078125e-07;
  double rope_theta = 10000;
  std::optional<nn::Yarn> yarn = nn::Yarn{};
  /// Whether YaRN holds for short rows too; TorchTitan applies it, and mscale, only when training's
  /// rows are longer than the original context.
  bool yarn_at_every_length = false;
  /// Of the temperature of attention under YaRN: see nn::yarn_mscale.
  double mscale = 1.0;
  /// What the rotary table is multiplied by under YaRN: the rotated part of a score has it twice.
  double rope_factor = 1.0;
  /// Of the rows that the model is trained on; decides whether YaRN holds.
  int64_t training_seq_len = 16384;
  /// Positions that the rotary table holds.
  int64_t max_seq_len = 16384;
  Mask mask = mask::causal();

  bool is_stretched() const {
    return yarn && (yarn_at_every_length || training_seq_len > yarn->original_max_position);
  }
  AttentionSizes attention() const;
  /// What attention's scores are multiplied by.
  double attention_scale() const;
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

}  // namespace coeus::deepseek_v3
