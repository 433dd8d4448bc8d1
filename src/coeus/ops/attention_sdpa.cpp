// LibTorch's flash attention knows dense causal and full attention. A packed row under documents
// and causal is a list of such pieces, one call each on the CPU; for GPUs see attention_varlen.h.
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <limits>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/ops/attention_part.h"
#include "coeus/ops/attention_varlen.h"
#include "coeus/ops/kept_results.h"
#include "coeus/ops/saved_mask.h"

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A dense piece of attention: tokens of rows [row_begin, row_end) under one segment.
struct Piece {
  int64_t row_begin;
  int64_t row_end;
  Segment segment;
};

std::vector<Piece> pieces_of(const BlockMask& mask) {
  std::vector<Piece> pieces;
  for (int64_t row = 0; row < mask.batch_size();) {
    // Rows that share one lowered mask, as all do under plain causal, go in one call.
    int64_t end = row + 1;
    while (end < mask.batch_size() && mask.shared_row(end) == mask.shared_row(row)) ++end;
    for (const Segment& segment : runs_of(mask, row)) pieces.push_back({row, end, segment});
    row = end;
  }
  return pieces;
}

/// The piece's share of x [batch, tokens, heads, dim], as [rows, heads, tokens, dim].
at::Tensor queries_of(const at::Tensor& x, const Piece& piece) {
  const Segment& s = piece.segment;
  return x.slice(0, piece.row_begin, piece.row_end)
      .slice(1, s.query_begin, s.query_end)
      .transpose(1, 2);
}
at::Tensor keys_of(const at::Tensor& x, const Piece& piece) {
  const Segment& s = piece.segment;
  return x.slice(0, piece.row_begin, piece.row_end)
      .slice(1, s.key_begin, s.key_end)
      .transpose(1, 2);
}

bool sees_nothing(const Piece& piece) { return piece.segment.key_begin == piece.segment.key_end; }

AttentionPart forward_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const std::vector<Piece>& pieces, double scale) {
  const auto lse_type = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor out = at::empty({q.size(0), q.size(1), q.size(2), v.size(3)}, q.options());
  // Tokens before heads in memory, as LibTorch itself keeps it and reads it again.
  const at::Tensor lse =
      at::full({q.size(0), q.size(1), q.size(2)}, -std::numeric_limits<double>::infinity(),
               q.options().dtype(lse_type));
  for (const Piece& piece : pieces) {
    at::Tensor to = queries_of(out, piece);
    if (sees_nothing(piece)) {
      to.zero_();
      continue;
    }
    auto [piece_out, piece_lse] = at::_scaled_dot_product_flash_attention_for_cpu(
        queries_of(q, piece), keys_of(k, piece), keys_of(v, piece), 0.0, piece.segment.causal, {},
        scale);
    to.copy_(piece_out);
    queries_of(lse, piece).copy_(piece_lse);
  }
  return {out, lse.transpose(1, 2)};
}

AttentionGradients backward_of(const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k,
                               const at::Tensor& v, const at::Tensor& out,
                               const at::Tensor& lse_of_heads, const std::vector<Piece>& pieces,
                               double scale) {
  const at::Tensor lse = lse_of_heads.transpose(1, 2).contiguous();
  at::Tensor grad_q = at::zeros_like(q);
  // Keys seen by several pieces collect from each of them, which bfloat16 would round each time.
  const at::ScalarType sum_type = k.scalar_type() == at::kBFloat16 ? at::kFloat : k.scalar_type();
  at::Tensor grad_k = at::zeros_like(k, k.options().dtype(sum_type));
  at::Tensor grad_v = at::zeros_like(v, v.options().dtype(sum_type));
  for (const Piece& piece : pieces) {
    if (sees_nothing(piece)) continue;
    auto [piece_q, piece_k, piece_v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        queries_of(grad_out, piece), queries_of(q, piece), keys_of(k, piece), keys_of(v, piece),
        queries_of(out, piece), queries_of(lse, piece), 0.0, piece.segment.causal, {}, scale);
    queries_of(grad_q, piece).copy_(piece_q);
    keys_of(grad_k, piece).add_(piece_k);
    keys_of(grad_v, piece).add_(piece_v);
  }
  return {grad_q, grad_k.to(k.scalar_type()), grad_v.to(v.scalar_type())};
}

/// How many query heads share a key head. The CPU's flash attention has no grouped heads.
int64_t heads_a_key_head(const at::Tensor& q, const at::Tensor& k) { return q.size(2) / k.size(2); }
at::Tensor repeated(const at::Tensor& x, int64_t times) {
  return times == 1 ? x : x.repeat_interleave(times, 2);
}
/// The gradient of `repeated`.
at::Tensor summed(const at::Tensor& grad, int64_t times) {
  return times == 1 ? grad : grad.unflatten(2, {-1, times}).sum(3);
}

void check_takes(const at::Tensor& q, const at::Tensor& v) {
  std::string refusal;
  if (!q.device().is_cpu())
    refusal = varlen_refusal(q, v);
  else if (q.size(3) != v.size(3))
    refusal = fmt::format("equal head dims of k and v, got {} and {}", q.size(3), v.size(3));
  COEUS_CHECK(refusal.empty(), "[attention] the engine sdpa takes {}; use engine reference",
              refusal);
}

class SdpaAttention : public torch::autograd::Function<SdpaAttention> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const BlockMask& mask, double scale) {
    const variable_list results = kept_or_computed([&] {
      const AttentionPart whole = sdpa_part(q, k, v, mask, scale);
      return variable_list{whole.out, whole.lse};
    });
    context->save_for_backward({q, k, v, results[0], results[1]});
    context->saved_data["mask"] = at::IValue::make_capsule(c10::make_intrusive<SavedMask>(mask));
    context->saved_data["scale"] = scale;
    return results[0];
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const at::IValue capsule = context->saved_data["mask"];
    const AttentionGradients of =
        sdpa_part_backward(grads[0], saved[0], saved[1], saved[2], saved[3], saved[4],
                           static_cast<const SavedMask&>(*capsule.toCapsule()).mask,
                           context->saved_data["scale"].toDouble());
    return {of.q, of.k, of.v, {}, {}};
  }
};

}  // namespace

AttentionPart sdpa_part(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const BlockMask& mask, double scale) {
  check_takes(q, v);
  if (!q.device().is_cpu()) return varlen_attention(q, k, v, mask, scale);
  const int64_t shared = heads_a_key_head(q, k);
  return forward_of(q, repeated(k, shared), repeated(v, shared), pieces_of(mask), scale);
}

AttentionGradients sdpa_part_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                      const at::Tensor& k, const at::Tensor& v,
                                      const at::Tensor& out, const at::Tensor& lse,
                                      const BlockMask& mask, double scale) {
  if (!q.device().is_cpu())
    return varlen_attention_backward(grad_out, q, k, v, out, lse, mask, scale);
  const int64_t shared = heads_a_key_head(q, k);
  const AttentionGradients of = backward_of(grad_out.contiguous(), q, repeated(k, shared),
                                            repeated(v, shared), out, lse, pieces_of(mask), scale);
  return {of.q, summed(of.k, shared), summed(of.v, shared)};
}

at::Tensor attention_sdpa(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const BlockMask& mask, double scale) {
  return SdpaAttention::apply(q, k, v, mask, scale);
}

}  // namespace coeus
