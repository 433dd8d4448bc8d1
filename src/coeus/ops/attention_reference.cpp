#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/types.h>

#include <cstring>
#include <limits>

#include "coeus/ops/attention_part.h"

namespace coeus {

namespace {

/// What both passes of the plain formula begin with; heads come before tokens.
struct DenseScores {
  at::Tensor q, k, v;  ///< [batch, heads, tokens, dim], in float32 or double, keys repeated
  at::Tensor scores;   ///< -inf where nothing is seen
};

at::Tensor by_head(const at::Tensor& x, int64_t shared) {
  const auto dtype = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return (shared == 1 ? x.to(dtype) : x.to(dtype).repeat_interleave(shared, 2)).transpose(1, 2);
}

DenseScores dense_scores(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const BlockMask& mask, double scale) {
  const int64_t shared = q.size(2) / k.size(2);
  DenseScores dense = {by_head(q, 1), by_head(k, shared), by_head(v, shared), {}};
  dense.scores = (at::matmul(dense.q, dense.k.transpose(-1, -2)) * scale)
                     .masked_fill(dense_mask(mask, q.device()).logical_not(),
                                  -std::numeric_limits<double>::infinity());
  return dense;
}

/// exp(scores - lse), 0 for queries that see nothing.
at::Tensor weights_of(const at::Tensor& scores, const at::Tensor& lse) {
  return at::nan_to_num(at::exp(scores - lse.unsqueeze(-1)), 0.0);
}

/// The sum over query heads that share a key head, as [batch, tokens, kv_heads, dim].
at::Tensor summed_by_key_head(const at::Tensor& grad, int64_t shared) {
  return grad.unflatten(1, {-1, shared}).sum(2).transpose(1, 2);
}

}  // namespace

at::Tensor dense_mask(const BlockMask& mask, const at::Device& device) {
  at::Tensor dense = at::empty({mask.batch_size(), 1, mask.query_length(), mask.key_length()},
                               at::TensorOptions().dtype(at::kBool));
  for (int64_t row = 0; row < mask.batch_size(); ++row) {
    const std::vector<uint8_t> bytes = mask.to_dense(row);
    if (!bytes.empty())
      std::memcpy(dense.select(0, row).mutable_data_ptr(), bytes.data(), bytes.size());
  }
  return dense.to(device);
}

AttentionPart reference_part(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const BlockMask& mask, double scale) {
  const DenseScores dense = dense_scores(q, k, v, mask, scale);
  const at::Tensor lse = at::logsumexp(dense.scores, {-1});
  const at::Tensor out = at::matmul(weights_of(dense.scores, lse), dense.v).transpose(1, 2);
  return {out.to(q.scalar_type()), lse};
}

AttentionGradients reference_part_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                           const at::Tensor& k, const at::Tensor& v,
                                           const at::Tensor& out, const at::Tensor& lse,
                                           const BlockMask& mask, double scale) {
  const int64_t shared = q.size(2) / k.size(2);
  const DenseScores dense = dense_scores(q, k, v, mask, scale);
  const at::Tensor weights = weights_of(dense.scores, lse);
  const at::Tensor grad = by_head(grad_out, 1);
  const at::Tensor mean = (grad * by_head(out, 1)).sum(-1, /*keepdim=*/true);
  const at::Tensor grad_scores =
      weights * (at::matmul(grad, dense.v.transpose(-1, -2)) - mean) * scale;
  const auto of_keys = [&](const at::Tensor& x, const at::Tensor& by) {
    return summed_by_key_head(at::matmul(x.transpose(-1, -2), by), shared).to(q.scalar_type());
  };
  return {at::matmul(grad_scores, dense.k).transpose(1, 2).to(q.scalar_type()),
          of_keys(grad_scores, dense.q), of_keys(weights, grad)};
}

at::Tensor attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const BlockMask& mask, double scale) {
  // float32 at least, so that low precision is rounded once, at the end; autocast would undo that.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const auto dtype = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const int64_t shared = q.size(2) / k.size(2);
  const at::Tensor q_BHSD = q.to(dtype).transpose(1, 2);
  const at::Tensor k_BHSD = k.to(dtype).repeat_interleave(shared, 2).transpose(1, 2);
  const at::Tensor v_BHSD = v.to(dtype).repeat_interleave(shared, 2).transpose(1, 2);
  const at::Tensor visible = dense_mask(mask, q.device());
  const at::Tensor scores = at::matmul(q_BHSD, k_BHSD.transpose(-1, -2)) * scale;
  const at::Tensor hidden = visible.logical_not();
  const at::Tensor weights =
      at::softmax(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()), -1);
  // A query that sees nothing has a softmax of NaN; zeros put in its place stop its gradient too.
  const at::Tensor blind = visible.any(-1, /*keepdim=*/true).logical_not();
  const at::Tensor out = at::matmul(weights.masked_fill(blind, 0.0), v_BHSD);
  return out.transpose(1, 2).to(q.scalar_type());
}

}  // namespace coeus
