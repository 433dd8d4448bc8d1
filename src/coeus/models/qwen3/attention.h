#pragma once

#include "coeus/nn/inner_attention.h"
#include "coeus/nn/key_value_cache.h"
#include "coeus/nn/layer.h"
#include "coeus/nn/linear.h"
#include "coeus/nn/rms_norm.h"

namespace coeus::qwen3 {

/// Sizes of an attention layer; n_heads query heads share n_kv_heads key heads, and head_dim need
/// not be dim / n_heads.
struct AttentionSizes {
  int64_t dim = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  bool qk_norm = true;
  double norm_eps = 0;
};

/// Grouped-query self-attention whose queries and keys are normed head by head before their halves
/// are rotated.
class AttentionImpl : public nn::Layer {
 public:
  /// Throws Error unless n_heads is a multiple of n_kv_heads.
  AttentionImpl(const AttentionSizes& sizes, AttentionEngine engine,
                const at::TensorOptions& options);
  /// x: [batch, seq, dim]; rope_table, positions, mask and cache as nn::Attention takes them.
  /// Returns [batch, seq, dim].
  at::Tensor forward(const at::Tensor& x, const at::Tensor& rope_table, const at::Tensor& positions,
                     const BlockMask& mask, nn::KeyValueCache* cache = nullptr);
  /// `prefix` is the layer's name in the model; `out_std` the standard deviation of wo.
  void init_weights(uint64_t seed, const std::string& prefix, double out_std);

 private:
  int64_t head_dim_;
  nn::RMSNorm q_norm_{nullptr};
  nn::RMSNorm k_norm_{nullptr};
  nn::Linear wq_{nullptr};
  nn::Linear wk_{nullptr};
  nn::Linear wv_{nullptr};
  nn::Linear wo_{nullptr};
  nn::InnerAttention inner_attention_{nullptr};
};
TORCH_MODULE(Attention);

}  // namespace coeus::qwen3
