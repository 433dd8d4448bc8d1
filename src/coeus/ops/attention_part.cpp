#include "coeus/ops/attention_part.h"

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/types.h>

#include "coeus/base/error.h"

namespace coeus {

namespace {

/// [batch, heads, queries] as factors of [batch, queries, heads, value_dim].
at::Tensor as_factors(const at::Tensor& x) { return x.transpose(1, 2).unsqueeze(-1); }

}  // namespace

AttentionPart attention_part(AttentionEngine engine, const at::Tensor& q, const at::Tensor& k,
                             const at::Tensor& v, const BlockMask& mask, double scale) {
  const at::NoGradGuard no_grad;
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  switch (engine) {
    case AttentionEngine::kReference:
      return reference_part(q, k, v, mask, scale);
    case AttentionEngine::kBlockSparse:
      return block_sparse_part(q, k, v, mask, scale);
    case AttentionEngine::kSdpa:
      return sdpa_part(q, k, v, mask, scale);
    case AttentionEngine::kAuto:
    case AttentionEngine::kCheck:
      break;
  }
  COEUS_ASSERT(false);
}

AttentionGradients attention_part_backward(AttentionEngine engine, const at::Tensor& grad_out,
                                           const at::Tensor& q, const at::Tensor& k,
                                           const at::Tensor& v, const at::Tensor& out,
                                           const at::Tensor& lse, const BlockMask& mask,
                                           double scale) {
  const at::NoGradGuard no_grad;
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  switch (engine) {
    case AttentionEngine::kReference:
      return reference_part_backward(grad_out, q, k, v, out, lse, mask, scale);
    case AttentionEngine::kBlockSparse:
      return block_sparse_part_backward(grad_out, q, k, v, out, lse, mask, scale);
    case AttentionEngine::kSdpa:
      return sdpa_part_backward(grad_out, q, k, v, out, lse, mask, scale);
    case AttentionEngine::kAuto:
    case AttentionEngine::kCheck:
      break;
  }
  COEUS_ASSERT(false);
}

AttentionPart merged(const AttentionPart& a, const AttentionPart& b) {
  const auto dtype = b.lse.scalar_type();
  if (!a.out.defined()) return {b.out.to(dtype), b.lse};
  const at::Tensor lse = at::logaddexp(a.lse, b.lse);
  const auto weighted = [&](const AttentionPart& part) {
    // A query that sees nothing in either part has the weight exp(-inf + inf).
    const at::Tensor weight = at::nan_to_num(at::exp(part.lse - lse), 0.0);
    return part.out.to(dtype) * as_factors(weight);
  };
  return {weighted(a) + weighted(b), lse};
}

}  // namespace coeus
