// Attention over some of the keys that queries see, to be merged with that over others: what a ring
// of ranks is made of. The forms of the engines that autograd does not see.
#pragma once

#include <ATen/core/Tensor.h>

#include "coeus/mask/block_mask.h"
#include "coeus/ops/attention.h"

namespace coeus {

/// Throws Error when shapes, dtypes or devices disagree, with each other or with the mask: what
/// coeus::attention checks, and nothing below does.
void check_attention_arguments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const BlockMask& mask);

/// Attention over a set of keys: as if there were no others.
struct AttentionPart {
  at::Tensor out;  ///< [batch, queries, heads, value_dim]; 0 for a query that sees none of them
  at::Tensor lse;  ///< [batch, heads, queries], float32 (double for double): the logarithm of the
                   ///< sum of exp(scale * q k) over them, -inf where there are none
};

struct AttentionGradients {
  at::Tensor q, k, v;
};

/// One engine's attention, without gradients; arguments as in coeus::attention, which it takes as
/// right. Throws Error for what the engine cannot do.
AttentionPart attention_part(AttentionEngine engine, const at::Tensor& q, const at::Tensor& k,
                             const at::Tensor& v, const BlockMask& mask, double scale);

/// What these keys add to the gradients, where `out` and `lse` are those over all keys of all
/// parts.
AttentionGradients attention_part_backward(AttentionEngine engine, const at::Tensor& grad_out,
                                           const at::Tensor& q, const at::Tensor& k,
                                           const at::Tensor& v, const at::Tensor& out,
                                           const at::Tensor& lse, const BlockMask& mask,
                                           double scale);

/// The attention over the keys of both, which have none in common, in the dtype of the lse (Dao et
/// al., arXiv 2205.14135, section 3.1). An undefined `a` stands for no keys.
AttentionPart merged(const AttentionPart& a, const AttentionPart& b);

/// The mask as bool [batch, 1, queries, keys] on the given device, true where a query sees a key.
at::Tensor dense_mask(const BlockMask& mask, const at::Device& device);

/// The engines' own, as attention_part and attention_part_backward call them.
AttentionPart reference_part(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const BlockMask& mask, double scale);
AttentionGradients reference_part_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                           const at::Tensor& k, const at::Tensor& v,
                                           const at::Tensor& out, const at::Tensor& lse,
                                           const BlockMask& mask, double scale);
AttentionPart block_sparse_part(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const BlockMask& mask, double scale);
AttentionGradients block_sparse_part_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                              const at::Tensor& k, const at::Tensor& v,
                                              const at::Tensor& out, const at::Tensor& lse,
                                              const BlockMask& mask, double scale);
AttentionPart sdpa_part(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const BlockMask& mask, double scale);
AttentionGradients sdpa_part_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                      const at::Tensor& k, const at::Tensor& v,
                                      const at::Tensor& out, const at::Tensor& lse,
                                      const BlockMask& mask, double scale);

}  // namespace coeus
