#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/types.h>

#include <cstring>
#include <limits>

#include "coeus/ops/attention.h"

namespace coeus {

namespace {

/// The mask as bool [batch, 1, queries, keys] on the given device.
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

}  // namespace

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
