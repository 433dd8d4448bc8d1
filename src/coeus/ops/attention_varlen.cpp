#include "coeus/ops/attention_varlen.h"

#include <torch/types.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "coeus/base/error.h"

namespace coeus {

namespace {

/// Runs of one kind, as the flash kernels want them: sequences one after the other.
struct Sequences {
  bool causal = false;
  std::vector<int64_t> queries, keys;  ///< places among the tokens of all rows
  std::vector<int32_t> query_ends = {0}, key_ends = {0};
  int64_t most_queries = 0, most_keys = 0;

  void add(const Segment& run, int64_t query_offset, int64_t key_offset) {
    for (int64_t i = run.query_begin; i < run.query_end; ++i) queries.push_back(query_offset + i);
    for (int64_t i = run.key_begin; i < run.key_end; ++i) keys.push_back(key_offset + i);
    query_ends.push_back(static_cast<int32_t>(queries.size()));
    key_ends.push_back(static_cast<int32_t>(keys.size()));
    most_queries = std::max(most_queries, run.query_end - run.query_begin);
    most_keys = std::max(most_keys, run.key_end - run.key_begin);
  }
};

/// The causal runs and the full ones. Queries that see nothing are in neither.
std::vector<Sequences> sequences_of(const BlockMask& mask) {
  Sequences causal{.causal = true}, full;
  for (int64_t row = 0; row < mask.batch_size(); ++row)
    for (const Segment& run : runs_of(mask, row)) {
      if (run.key_begin == run.key_end) continue;
      (run.causal ? causal : full).add(run, row * mask.query_length(), row * mask.key_length());
    }
  std::vector<Sequences> all;
  for (Sequences* kind : {&causal, &full})
    if (!kind->queries.empty()) all.push_back(std::move(*kind));
  return all;
}

/// The same on the device.
struct DeviceSequences {
  DeviceSequences(const Sequences& sequences, const at::Device& device)
      : causal(sequences.causal),
        most_queries(sequences.most_queries),
        most_keys(sequences.most_keys),
        queries(at::tensor(sequences.queries, at::kLong).to(device)),
        keys(at::tensor(sequences.keys, at::kLong).to(device)),
        query_ends(at::tensor(sequences.query_ends, at::kInt).to(device)),
        key_ends(at::tensor(sequences.key_ends, at::kInt).to(device)) {}

  bool causal;
  int64_t most_queries, most_keys;
  at::Tensor queries, keys, query_ends, key_ends;
};

/// [batch, tokens, heads, dim] as [batch * tokens, heads, dim].
at::Tensor rows_in_line(const at::Tensor& x) { return x.contiguous().flatten(0, 1); }
at::Tensor with_heads_first(const at::Tensor& x) { return x.transpose(1, 2); }

bool covers_all(const Segment& run, const BlockMask& mask) {
  return run.query_begin == 0 && run.query_end == mask.query_length() && run.key_begin == 0 &&
         run.key_end == mask.key_length();
}

bool is_causal(const BlockMask& mask) { return runs_of(mask, 0).front().causal; }

AttentionPart by_cudnn(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool causal,
                       double scale) {
  const auto results = at::_scaled_dot_product_cudnn_attention(
      with_heads_first(q), with_heads_first(k), with_heads_first(v), {},
      /*compute_log_sumexp=*/true,
      /*dropout_p=*/0, causal, /*return_debug_mask=*/false, scale);
  return {with_heads_first(std::get<0>(results)),
          std::get<1>(results).reshape({q.size(0), q.size(2), q.size(1)})};
}

AttentionGradients by_cudnn_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                     const at::Tensor& k, const at::Tensor& v,
                                     const at::Tensor& out, const at::Tensor& lse, bool causal,
                                     double scale) {
  // Without dropout nothing is drawn.
  const at::Tensor nothing_drawn = at::zeros({}, q.options().dtype(at::kLong));
  const auto [grad_q, grad_k, grad_v] = at::_scaled_dot_product_cudnn_attention_backward(
      with_heads_first(grad_out), with_heads_first(q), with_heads_first(k), with_heads_first(v),
      with_heads_first(out), lse.unsqueeze(-1), nothing_drawn, nothing_drawn, {}, {}, {}, q.size(1),
      k.size(1), /*dropout_p=*/0, causal, scale);
  return {with_heads_first(grad_q), with_heads_first(grad_k), with_heads_first(grad_v)};
}

/// cuDNN adds gradients up in no fixed order.
bool takes_cudnn(const BlockMask& mask) {
  return is_one_run(mask) && !at::globalContext().deterministicAlgorithms();
}

}  // namespace

std::vector<Segment> runs_of(const BlockMask& mask, int64_t row) {
  const auto runs = mask.segments(row);
  COEUS_CHECK(runs.has_value(),
              "[attention] the engine sdpa computes causal and full attention over runs of tokens, "
              "and the mask of row {} is not made of such runs; use engine auto",
              row);
  return *runs;
}

std::string varlen_refusal(const at::Tensor& q, const at::Tensor& v) {
  if (!q.is_cuda()) return fmt::format("tensors of the CPU and of CUDA, got {}", q.device().str());
  const auto dtype = q.scalar_type();
  if (dtype != at::kBFloat16 && dtype != at::kHalf)
    return fmt::format("bfloat16 and float16 on {}, got {}", q.device().str(),
                       c10::toString(dtype));
  if (q.size(3) != v.size(3) || q.size(3) % 8 != 0 || q.size(3) > 256)
    return fmt::format(
        "equal head dims of keys and values, multiples of 8 up to 256, got {} and {}", q.size(3),
        v.size(3));
  return "";
}

bool is_one_run(const BlockMask& mask) {
  for (int64_t row = 0; row < mask.batch_size(); ++row) {
    const auto runs = mask.segments(row, /*max_segments=*/1);
    if (!runs || runs->size() != 1 || !covers_all(runs->front(), mask) ||
        runs->front().causal != is_causal(mask))
      return false;
  }
  // Of a single pair of tokens cuDNN has no gradients.
  return mask.query_length() * mask.key_length() > 1;
}

AttentionPart varlen_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const BlockMask& mask, double scale) {
  if (takes_cudnn(mask)) return by_cudnn(q, k, v, is_causal(mask), scale);
  const at::Tensor in_line_q = rows_in_line(q), in_line_k = rows_in_line(k),
                   in_line_v = rows_in_line(v);
  at::Tensor out = at::zeros_like(in_line_q);
  at::Tensor lse =
      at::full({q.size(2), in_line_q.size(0)}, -std::numeric_limits<double>::infinity(),
               q.options().dtype(at::kFloat));
  for (const Sequences& kind : sequences_of(mask)) {
    const DeviceSequences of(kind, q.device());
    const auto results = at::_flash_attention_forward(
        in_line_q.index_select(0, of.queries), in_line_k.index_select(0, of.keys),
        in_line_v.index_select(0, of.keys), of.query_ends, of.key_ends, of.most_queries,
        of.most_keys, /*dropout_p=*/0, of.causal, /*return_debug_mask=*/false, scale);
    out.index_copy_(0, of.queries, std::get<0>(results));
    lse.index_copy_(1, of.queries, std::get<1>(results));
  }
  return {out.view(q.sizes()),
          lse.view({q.size(2), q.size(0), q.size(1)}).transpose(0, 1).contiguous()};
}

AttentionGradients varlen_attention_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                             const at::Tensor& k, const at::Tensor& v,
                                             const at::Tensor& out, const at::Tensor& lse,
                                             const BlockMask& mask, double scale) {
  if (takes_cudnn(mask))
    return by_cudnn_backward(grad_out, q, k, v, out, lse, is_causal(mask), scale);
  const at::Tensor in_line_q = rows_in_line(q), in_line_k = rows_in_line(k),
                   in_line_v = rows_in_line(v), in_line_out = rows_in_line(out),
                   in_line_grad = rows_in_line(grad_out);
  const at::Tensor lse_in_line = lse.transpose(0, 1).contiguous().flatten(1, 2);
  // Keys seen by several runs collect from each of them, which low precision would round each time.
  const auto sum_type = k.options().dtype(at::kFloat);
  at::Tensor grad_q = at::zeros_like(in_line_q);
  at::Tensor grad_k = at::zeros(in_line_k.sizes(), sum_type);
  at::Tensor grad_v = at::zeros(in_line_v.sizes(), sum_type);
  const at::Tensor nothing_drawn = at::zeros({2}, q.options().dtype(at::kLong)).view(at::kUInt64);
  for (const Sequences& kind : sequences_of(mask)) {
    const DeviceSequences of(kind, q.device());
    const auto [of_q, of_k, of_v] = at::_flash_attention_backward(
        in_line_grad.index_select(0, of.queries), in_line_q.index_select(0, of.queries),
        in_line_k.index_select(0, of.keys), in_line_v.index_select(0, of.keys),
        in_line_out.index_select(0, of.queries), lse_in_line.index_select(1, of.queries),
        of.query_ends, of.key_ends, of.most_queries, of.most_keys, /*dropout_p=*/0, of.causal,
        nothing_drawn, nothing_drawn, scale);
    grad_q.index_copy_(0, of.queries, of_q);
    grad_k.index_add_(0, of.keys, of_k.to(at::kFloat));
    grad_v.index_add_(0, of.keys, of_v.to(at::kFloat));
  }
  return {grad_q.view(q.sizes()), grad_k.view(k.sizes()).to(k.scalar_type()),
          grad_v.view(v.sizes()).to(v.scalar_type())};
}

}  // namespace coeus
