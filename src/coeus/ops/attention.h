// Attention under a block mask, by the engine that suits it.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "coeus/mask/block_mask.h"

namespace coeus {

class AttentionReport;

/// What computes attention. All engines agree to rounding.
enum class AttentionEngine {
  kAuto,         ///< the cheapest for the mask, by attention_cost.h
  kReference,    ///< dense softmax, any dtype and device
  kSdpa,         ///< LibTorch's flash attention, a call for each run of tokens that it can do
  kBlockSparse,  ///< own flash attention over the mask's tiles, on the CPU and on CUDA
  kCheck,        ///< what kAuto takes, held to the reference in forward and backward
};

/// Reads "auto", "reference", "sdpa", "block_sparse" or "check". Throws ConfigError for another
/// name.
AttentionEngine attention_engine_from_name(std::string_view name);
/// The name that attention_engine_from_name reads back.
std::string_view name_of(AttentionEngine engine);

/// What a caller of `attention` may choose.
struct AttentionOptions {
  /// What scores are multiplied by; 1 / sqrt(head_dim of q) when absent.
  std::optional<double> scale;
  AttentionEngine engine = AttentionEngine::kAuto;
  /// Where to write which engine was taken and, under kCheck, how far it was from the reference.
  /// kCheck without a report compares nothing.
  std::shared_ptr<AttentionReport> report = nullptr;
  /// The name under which the report keeps this call ("layers.0.attention").
  std::string layer = "";
};

/// softmax(scale * q k^T, over the keys that the mask shows) v.
/// q: [batch, queries, heads, head_dim]; k: [batch, keys, kv_heads, head_dim];
/// v: [batch, keys, kv_heads, value_dim]; heads is a multiple of kv_heads, and each kv head serves
/// heads / kv_heads heads in turn (GQA: Ainslie et al., arXiv 2305.13245). Returns [batch, queries,
/// heads, value_dim] in q's dtype. A query that sees nothing gets 0, and so do its gradients.
/// Computes in q's dtype, under autocast too.
/// Throws Error when shapes, dtypes or devices disagree, with each other or with the mask, or when
/// the engine cannot do what is asked.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const BlockMask& mask, const AttentionOptions& options = {});

/// The engines. `attention` checks the arguments, which these take as right.
at::Tensor attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const BlockMask& mask, double scale);
at::Tensor attention_sdpa(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const BlockMask& mask, double scale);
at::Tensor attention_block_sparse(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const BlockMask& mask, double scale);
/// What the engine takes, if it does not take such tensors (k is as wide as q): "head dims up to
/// 256, got 320 and 320". Empty when it does.
std::string block_sparse_refusal(const at::Tensor& q, const at::Tensor& v);
/// The same and, per query, the logarithm of the sum of exp(scale * q k) over the keys it sees:
/// [batch, heads, queries], float32 (double for double), -inf where it sees nothing. No gradient
/// flows through the second.
std::tuple<at::Tensor, at::Tensor> attention_block_sparse_with_lse(const at::Tensor& q,
                                                                   const at::Tensor& k,
                                                                   const at::Tensor& v,
                                                                   const BlockMask& mask,
                                                                   double scale);
/// One of the three by name; kAuto and kCheck are none.
at::Tensor attention_by(AttentionEngine engine, const at::Tensor& q, const at::Tensor& k,
                        const at::Tensor& v, const BlockMask& mask, double scale);

/// An engine, and why it and no other, for logs and reports.
struct EngineChoice {
  AttentionEngine engine;
  std::string reason;
};
/// The engine `auto` takes for this mask and these tensors (k is as wide as q).
EngineChoice choose_attention_engine(const at::Tensor& q, const at::Tensor& v,
                                     const BlockMask& mask);

/// What `engine` comes to for them: kAuto and kCheck choose, the others are taken at their word.
/// Throws Error when block_sparse is asked for what it does not take.
EngineChoice resolve_attention_engine(const at::Tensor& q, const at::Tensor& v,
                                      const BlockMask& mask, AttentionEngine engine);

}  // namespace coeus
