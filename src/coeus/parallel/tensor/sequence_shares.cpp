#include "coeus/parallel/tensor/sequence_shares.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "coeus/base/error.h"
#include "coeus/ops/kept_results.h"
#include "coeus/parallel/sharded_parameters.h"

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What backward needs of forward's shares: another pass may have begun since.
struct Exchange : torch::CustomClassHolder {
  explicit Exchange(SequenceShares s) : shares(std::move(s)) {
    const ProcessGroup& group = *shares.group;
    longest = chunk_of(shares.seq_len, group.size(), 0).size;
    own = chunk_of(shares.seq_len, group.size(), group.rank()).size;
  }

  ChunkRange of(int64_t rank) const { return chunk_of(shares.seq_len, shares.group->size(), rank); }
  /// The sizes of `like` with other first dimensions.
  static std::vector<int64_t> sized(const at::Tensor& like, std::vector<int64_t> first) {
    first.insert(first.end(), like.sizes().begin() + 2, like.sizes().end());
    return first;
  }

  at::Tensor gathered(const at::Tensor& x) const;
  at::Tensor reduced(const at::Tensor& x) const;

  SequenceShares shares;
  int64_t longest = 0;
  int64_t own = 0;
};

// Collectives join ranks along the first dimension, rank before row. With one row that is the order
// of the sequence, and nothing is copied; else the whole is copied once.

at::Tensor Exchange::gathered(const at::Tensor& x) const {
  const at::NoGradGuard no_grad;
  const int64_t ranks = shares.group->size(), batch = x.size(0), length = shares.seq_len;
  at::Tensor in = x;
  if (own < longest) {
    in = at::zeros(sized(x, {batch, longest}), x.options());
    in.narrow(1, 0, own).copy_(x);
  }
  const at::Tensor all = shares.group->all_gather(in, shares.what.c_str());
  // What the shorter shares were filled up with stands behind the last token.
  if (batch == 1) return all.view(sized(x, {1, ranks * longest})).narrow(1, 0, length);
  const at::Tensor parts = all.view(sized(x, {ranks, batch, longest}));
  at::Tensor whole = at::empty(sized(x, {batch, length}), x.options());
  for (int64_t r = 0; r < ranks; ++r)
    whole.narrow(1, of(r).begin, of(r).size).copy_(parts[r].narrow(1, 0, of(r).size));
  return whole;
}

at::Tensor Exchange::reduced(const at::Tensor& x) const {
  const at::NoGradGuard no_grad;
  const int64_t ranks = shares.group->size(), batch = x.size(0);
  at::Tensor in = x;
  if (batch > 1 || ranks * longest != shares.seq_len) {
    in = at::zeros(sized(x, {ranks, batch, longest}), x.options());
    for (int64_t r = 0; r < ranks; ++r)
      in[r].narrow(1, 0, of(r).size).copy_(x.narrow(1, of(r).begin, of(r).size));
  }
  const at::Tensor part = shares.group->reduce_scatter(
      in.reshape(sized(x, {ranks * batch, longest})), shares.what.c_str());
  return part.narrow(1, 0, own).contiguous();
}

using ExchangePtr = c10::intrusive_ptr<Exchange>;

ExchangePtr kept_exchange(AutogradContext* context) {
  return c10::static_intrusive_pointer_cast<Exchange>(context->saved_data["exchange"].toCapsule());
}

class GatherSequence : public torch::autograd::Function<GatherSequence> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const ExchangePtr& exchange) {
    context->saved_data["exchange"] = at::IValue::make_capsule(exchange);
    return exchange->gathered(x);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    return {kept_exchange(context)->reduced(grads[0]), {}};
  }
};

class ReduceScatterSequence : public torch::autograd::Function<ReduceScatterSequence> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const ExchangePtr& exchange) {
    context->saved_data["exchange"] = at::IValue::make_capsule(exchange);
    return kept_or_computed([&] { return std::vector<at::Tensor>{exchange->reduced(x)}; }).front();
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    return {kept_exchange(context)->gathered(grads[0]), {}};
  }
};

class GatherLastDimension : public torch::autograd::Function<GatherLastDimension> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, at::IntArrayRef widths,
                            ProcessGroup* group, const char* what) {
    int64_t begin = 0;
    for (int64_t r = 0; r < group->rank(); ++r) begin += widths[r];
    context->saved_data["begin"] = begin;
    context->saved_data["width"] = x.size(-1);
    // Parts of one width each stand side by side in memory that all ranks filled in turn.
    const int64_t widest = *std::max_element(widths.begin(), widths.end());
    const int64_t rows = x.numel() / x.size(-1);
    at::Tensor in = x.detach().reshape({rows, x.size(-1)});
    if (x.size(-1) < widest) in = at::constant_pad_nd(in, {0, widest - x.size(-1)});
    const at::Tensor parts = group->all_gather(in, what).view({group->size(), rows, widest});
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = std::accumulate(widths.begin(), widths.end(), int64_t{0});
    at::Tensor whole = at::empty({rows, shape.back()}, x.options());
    int64_t at = 0;
    for (int64_t r = 0; r < group->size(); at += widths[r++])
      whole.narrow(1, at, widths[r]).copy_(parts[r].narrow(1, 0, widths[r]));
    return whole.view(shape);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    return {grads[0].narrow(-1, context->saved_data["begin"].toInt(),
                            context->saved_data["width"].toInt()),
            {},
            {},
            {}};
  }
};

}  // namespace

at::Tensor gather_sequence(const at::Tensor& x, const SequenceShares& shares) {
  const auto exchange = c10::make_intrusive<Exchange>(shares);
  COEUS_CHECK(x.dim() >= 2 && x.size(1) == exchange->own,
              "[gather_sequence] {}: rows of {} tokens leave rank {} of {} a share of {}, got {}; "
              "tell the rows' length before each pass",
              shares.what, shares.seq_len, shares.group->rank(), shares.group->size(),
              exchange->own, x.sizes());
  return GatherSequence::apply(x, exchange);
}

at::Tensor reduce_scatter_sequence(const at::Tensor& x, const SequenceShares& shares) {
  COEUS_CHECK(
      x.dim() >= 2 && x.size(1) == shares.seq_len,
      "[reduce_scatter_sequence] {}: wants rows of {} tokens, got {}; tell the rows' length "
      "before each pass",
      shares.what, shares.seq_len, x.sizes());
  return ReduceScatterSequence::apply(x, c10::make_intrusive<Exchange>(shares));
}

at::Tensor take_sequence_share(const at::Tensor& x, const SequenceShares& shares) {
  COEUS_CHECK(x.dim() >= 2 && x.size(1) == shares.seq_len,
              "[take_sequence_share] {}: wants rows of {} tokens, got {}", shares.what,
              shares.seq_len, x.sizes());
  const ChunkRange own = chunk_of(shares.seq_len, shares.group->size(), shares.group->rank());
  return x.detach().narrow(1, own.begin, own.size);
}

at::Tensor gather_last_dimension(const at::Tensor& x, const std::vector<int64_t>& widths,
                                 const std::shared_ptr<ProcessGroup>& group,
                                 const std::string& what) {
  COEUS_CHECK(static_cast<int64_t>(widths.size()) == group->size() &&
                  x.size(-1) == widths[group->rank()] && x.size(-1) > 0,
              "[gather_last_dimension] {}: ranks have {} columns, and this one {}", what,
              fmt::join(widths, ", "), x.size(-1));
  return GatherLastDimension::apply(x, widths, group.get(), what.c_str());
}

}  // namespace coeus
