#pragma once

#include <torch/nn/pimpl.h>

#include <optional>
#include <string>

#include "coeus/mask/block_mask.h"
#include "coeus/nn/inner_attention.h"
#include "coeus/nn/key_value_cache.h"
#include "coeus/nn/layer.h"
#include "coeus/nn/linear.h"

namespace coeus::nn {

/// How a layer without rotary positions sharpens its attention in long rows (Llama 4, after
/// Nakanishi, "Scalable-Softmax", arXiv 2501.19399): a query at position p is multiplied by 1 +
/// scale ln(1 + floor((p + 1) / floor_scale)).
struct AttentionTemperature {
  double scale = 0.1;
  int64_t floor_scale = 8192;
  bool operator==(const AttentionTemperature&) const = default;
};

/// Sizes of an attention layer; n_heads query heads share n_kv_heads key heads.
struct AttentionSizes {
  int64_t dim = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  bool use_rope = true;  ///< false: no positions at all (NoPE, as in some of Llama 4's layers)
  /// Queries and keys are divided by the root of their mean square, plus this, once they are
  /// rotated (Llama 4's L2 norm).
  std::optional<double> qk_norm_eps = std::nullopt;
  std::optional<AttentionTemperature> temperature = std::nullopt;
};

/// Grouped-query self-attention with rotary positions (Llama 3: arXiv 2407.21783). What the tokens'
/// order decides, positions and mask, comes in as arguments.
class AttentionImpl : public Layer {
 public:
  /// Throws Error unless n_heads is a multiple of n_kv_heads.
  AttentionImpl(const AttentionSizes& sizes, AttentionEngine engine,
                const at::TensorOptions& options);
  /// x: [batch, seq, dim]; rope_table: see rope.h; positions: int32 [batch, seq]; mask: for batch
  /// rows of seq queries and keys. With a cache, the keys are those of all tokens given to it so
  /// far, these included. Returns [batch, seq, dim].
  at::Tensor forward(const at::Tensor& x, const at::Tensor& rope_table, const at::Tensor& positions,
                     const BlockMask& mask, KeyValueCache* cache = nullptr);
  /// TorchTitan's truncated normals: standard deviation 0.02, `out_std` for wo. `name` is the
  /// layer's in the model.
  void init_weights(uint64_t seed, const std::string& name, double out_std);

  Linear wq{nullptr};
  Linear wk{nullptr};
  Linear wv{nullptr};
  Linear wo{nullptr};

 private:
  int64_t head_dim_;
  bool use_rope_;
  std::optional<double> qk_norm_eps_;
  std::optional<AttentionTemperature> temperature_;
  InnerAttention inner_attention_{nullptr};
};
TORCH_MODULE(Attention);

}  // namespace coeus::nn
