#pragma once

#include "coeus/nn/inner_attention.h"
#include "coeus/nn/key_value_cache.h"
#include "coeus/nn/linear.h"
#include "coeus/nn/rms_norm.h"

namespace coeus::deepseek_v3 {

/// Sizes of a multi-head latent attention layer.
struct AttentionSizes {
  int64_t dim = 0;
  int64_t n_heads = 0;
  int64_t q_lora_rank = 0;  ///< of the latent that queries are made of; 0: made of x at once
  int64_t kv_lora_rank = 512;
  int64_t qk_nope_head_dim = 128;  ///< what a query and a key have without a position
  int64_t qk_rope_head_dim = 64;   ///< what they have with one
  int64_t v_head_dim = 128;
  double norm_eps = 0;

  int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
};

/// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, 2.1): keys and values are made of
/// one small latent a token, and one rotated key part serves all heads.
class AttentionImpl : public nn::Layer {
 public:
  /// `scale` multiplies the scores.
  AttentionImpl(const AttentionSizes& sizes, double scale, AttentionEngine engine,
                const at::TensorOptions& options);
  /// x: [batch, seq, dim]; rope_table: of qk_rope_head_dim; positions, mask and cache as
  /// nn::Attention takes them; the cache keeps latents. Returns [batch, seq, dim].
  at::Tensor forward(const at::Tensor& x, const at::Tensor& rope_table, const at::Tensor& positions,
                     const BlockMask& mask, nn::KeyValueCache* cache = nullptr);
  /// `prefix` is the layer's name in the model; `out_std` the standard deviation of wo.
  void init_weights(uint64_t seed, const std::string& prefix, double out_std);

 private:
  at::Tensor queries(const at::Tensor& x, const at::Tensor& rope_table,
                     const at::Tensor& positions);

  AttentionSizes sizes_;
  nn::Linear wq_{nullptr};  ///< null with a latent of queries; the next three without
  nn::Linear wq_a_{nullptr};
  nn::RMSNorm q_norm_{nullptr};
  nn::Linear wq_b_{nullptr};
  nn::Linear wkv_a_{nullptr};
  nn::RMSNorm kv_norm_{nullptr};
  nn::Linear wkv_b_{nullptr};
  nn::Linear wo_{nullptr};
  nn::InnerAttention inner_attention_{nullptr};
};
TORCH_MODULE(Attention);

}  // namespace coeus::deepseek_v3
