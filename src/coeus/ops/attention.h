// Attention under a block mask, by the engine that suits it.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <string_view>

#include "coeus/mask/block_mask.h"

namespace coeus {

/// What computes attention. All engines agree to rounding.
enum class AttentionEngine {
  kAuto,       ///< chosen for the mask
  kReference,  ///< dense softmax, any dtype and device
  kSdpa,       ///< LibTorch's flash attention, a call for each run of tokens that it can do
};

/// Reads "auto", "reference" or "sdpa". Throws ConfigError for another name.
AttentionEngine attention_engine_from_name(std::string_view name);
/// The name that attention_engine_from_name reads back.
std::string_view name_of(AttentionEngine engine);

/// What a caller of `attention` may choose.
struct AttentionOptions {
  /// What scores are multiplied by; 1 / sqrt(head_dim of q) when absent.
  std::optional<double> scale;
  AttentionEngine engine = AttentionEngine::kAuto;
};

/// softmax(scale * q k^T, over the keys that the mask shows) v.
/// q: [batch, queries, heads, head_dim]; k: [batch, keys, kv_heads, head_dim];
/// v: [batch, keys, kv_heads, value_dim]; heads is a multiple of kv_heads, and each kv head serves
/// heads / kv_heads heads in turn (GQA: Ainslie et al., arXiv 2305.13245). Returns [batch, queries,
/// heads, value_dim] in q's dtype. A query that sees nothing gets 0, and so do its gradients.
/// Throws Error when shapes, dtypes or devices disagree, with each other or with the mask.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const BlockMask& mask, const AttentionOptions& options = {});

/// The engines. `attention` checks the arguments, which these take as right.
at::Tensor attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const BlockMask& mask, double scale);
at::Tensor attention_sdpa(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const BlockMask& mask, double scale);

/// The engine `auto` takes for this mask and these tensors, and why, for logs and reports.
struct EngineChoice {
  AttentionEngine engine;
  std::string reason;
};
EngineChoice choose_attention_engine(const at::Tensor& q, const at::Tensor& v,
                                     const BlockMask& mask);

}  // namespace coeus
