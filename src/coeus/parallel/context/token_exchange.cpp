#include "coeus/parallel/context/token_exchange.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <numeric>
#include <utility>

#include "coeus/base/error.h"
#include "coeus/parallel/context/token_indexes.h"

namespace coeus {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What backward needs of forward's exchange.
struct Exchange : torch::CustomClassHolder {
  explicit Exchange(ContextRanks r, std::vector<HeadsByRank> h = {})
      : ranks(std::move(r)), heads(std::move(h)), counts(ranks.counts()) {}

  int64_t own() const { return ranks.group->rank(); }
  int64_t size() const { return ranks.group->size(); }
  int64_t batch() const { return ranks.batch_size(); }
  const ContextShard& row(int64_t b) const { return *ranks.rows[b]; }
  /// One of row b's lists, to index tensors like x with.
  at::Tensor index(int64_t b, const std::vector<int32_t>& places, const at::Tensor& x) const {
    return token_indexes(ranks.rows[b], places, x.device());
  }
  /// The places of all ranks' tokens, rank after rank.
  at::Tensor order(int64_t b, const at::Tensor& x) const {
    std::vector<at::Tensor> of_ranks;
    for (const auto& places : row(b).places) of_ranks.push_back(index(b, places, x));
    return at::cat(of_ranks);
  }
  const char* what() const { return ranks.what.c_str(); }

  ContextRanks ranks;
  std::vector<HeadsByRank> heads;
  std::vector<int64_t> counts;
};
using ExchangePtr = c10::intrusive_ptr<Exchange>;

void keep(AutogradContext* context, const ExchangePtr& exchange) {
  context->saved_data["exchange"] = at::IValue::make_capsule(exchange);
}
ExchangePtr kept(AutogradContext* context) {
  return c10::static_intrusive_pointer_cast<Exchange>(context->saved_data["exchange"].toCapsule());
}

/// Sums of low precision are taken in float32.
at::ScalarType sum_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// Every rank's tokens to every rank.

at::Tensor gathered(const Exchange& exchange, const at::Tensor& x) {
  const at::NoGradGuard no_grad;
  // Collectives join ranks along the first dimension.
  const at::Tensor all = exchange.ranks.group->all_gather_rows(x.transpose(0, 1).contiguous(),
                                                               exchange.counts, exchange.what());
  at::Tensor in_order = at::empty({x.size(0), all.size(0), x.size(2)}, x.options());
  for (int64_t b = 0; b < exchange.batch(); ++b)
    in_order.select(0, b).index_copy_(0, exchange.order(b, x), all.select(1, b));
  return in_order;
}

at::Tensor reduced(const Exchange& exchange, const at::Tensor& x) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> rows;
  for (int64_t b = 0; b < exchange.batch(); ++b)
    rows.push_back(x.select(0, b).index_select(0, exchange.order(b, x)));
  return exchange.ranks.group
      ->reduce_scatter_rows(at::stack(rows, 1), exchange.counts, exchange.what())
      .transpose(0, 1)
      .contiguous();
}

class GatherTokens : public torch::autograd::Function<GatherTokens> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const ExchangePtr& exchange) {
    keep(context, exchange);
    return gathered(*exchange, x);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    return {reduced(*kept(context), grads[0]), {}};
  }
};

// To each rank the tokens that its queries see.

/// Exchanges `to_rank(r)` for what each other rank r has for this one, `coming(r)` rows; what stays
/// here is no part of it.
template <class ToRank, class Coming>
at::Tensor exchanged(const Exchange& exchange, const at::Tensor& like, ToRank to_rank,
                     Coming coming) {
  std::vector<at::Tensor> parts = {like.new_empty({0, like.size(-1)})};
  std::vector<int64_t> sent, received;
  for (int64_t r = 0; r < exchange.size(); ++r) {
    sent.push_back(0);
    received.push_back(r == exchange.own() ? 0 : coming(r));
    if (r == exchange.own()) continue;
    for (at::Tensor& part : to_rank(r)) {
      sent.back() += part.size(0);
      parts.push_back(std::move(part));
    }
  }
  return exchange.ranks.group->all_to_all(at::cat(parts), sent, received, exchange.what());
}

using Places = std::vector<std::vector<int32_t>> ContextShard::*;

int64_t count_of(const Exchange& exchange, Places places, int64_t rank) {
  int64_t sum = 0;
  for (int64_t b = 0; b < exchange.batch(); ++b)
    sum += static_cast<int64_t>((exchange.row(b).*places)[rank].size());
  return sum;
}

/// Calls f(b, index, rows) for each rank's part of `arrived` and of this rank's own rows, where
/// index is where they belong in row b.
template <class OwnRows, class F>
void for_each_part(const Exchange& exchange, Places places, const at::Tensor& arrived,
                   OwnRows own_rows, F f) {
  int64_t at = 0;
  for (int64_t r = 0; r < exchange.size(); ++r)
    for (int64_t b = 0; b < exchange.batch(); ++b) {
      const auto& of_row = (exchange.row(b).*places)[r];
      const auto count = static_cast<int64_t>(of_row.size());
      const at::Tensor index = exchange.index(b, of_row, arrived);
      if (r == exchange.own()) {
        f(b, index, own_rows(b));
        continue;
      }
      f(b, index, arrived.narrow(0, at, count));
      at += count;
    }
}

variable_list needed(const Exchange& exchange, const at::Tensor& x) {
  const at::NoGradGuard no_grad;
  const auto chosen = [&](int64_t b, int64_t r) {
    return x.select(0, b).index_select(0, exchange.index(b, exchange.row(b).sent[r], x));
  };
  const at::Tensor arrived = exchanged(
      exchange, x,
      [&](int64_t r) {
        std::vector<at::Tensor> parts;
        for (int64_t b = 0; b < exchange.batch(); ++b) parts.push_back(chosen(b, r));
        return parts;
      },
      [&](int64_t r) { return count_of(exchange, &ContextShard::received, r); });
  variable_list keys;
  for (int64_t b = 0; b < exchange.batch(); ++b)
    keys.push_back(
        at::empty({1, exchange.row(b).pieces.at(0)->key_length, x.size(2)}, x.options()));
  for_each_part(
      exchange, &ContextShard::received, arrived,
      [&](int64_t b) { return chosen(b, exchange.own()); },
      [&](int64_t b, const at::Tensor& index, const at::Tensor& rows) {
        keys[b].select(0, 0).index_copy_(0, index, rows);
      });
  return keys;
}

at::Tensor returned(const Exchange& exchange, const variable_list& grads, int64_t tokens) {
  const at::NoGradGuard no_grad;
  const at::Tensor& like = grads[0];
  const auto chosen = [&](int64_t b, int64_t r) {
    return grads[b].select(0, 0).index_select(
        0, exchange.index(b, exchange.row(b).received[r], grads[b]));
  };
  const at::Tensor arrived = exchanged(
      exchange, like,
      [&](int64_t r) {
        std::vector<at::Tensor> parts;
        for (int64_t b = 0; b < exchange.batch(); ++b) parts.push_back(chosen(b, r));
        return parts;
      },
      [&](int64_t r) { return count_of(exchange, &ContextShard::sent, r); });
  at::Tensor sum =
      at::zeros({exchange.batch(), tokens, like.size(2)}, like.options().dtype(sum_type(like)));
  for_each_part(
      exchange, &ContextShard::sent, arrived, [&](int64_t b) { return chosen(b, exchange.own()); },
      [&](int64_t b, const at::Tensor& index, const at::Tensor& rows) {
        sum.select(0, b).index_add_(0, index, rows.to(sum.scalar_type()));
      });
  return sum.to(like.scalar_type());
}

class GatherNeededTokens : public torch::autograd::Function<GatherNeededTokens> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x,
                               const ExchangePtr& exchange) {
    keep(context, exchange);
    context->saved_data["tokens"] = x.size(1);
    return needed(*exchange, x);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    return {returned(*kept(context), grads, context->saved_data["tokens"].toInt()), {}};
  }
};

// To each rank all tokens of its heads, and back.

at::Tensor heads_of(const at::Tensor& x, const std::vector<int64_t>& heads) {
  COEUS_ASSERT(heads.empty() ||
               heads.back() - heads.front() + 1 == static_cast<int64_t>(heads.size()));
  return heads.empty() ? x.narrow(2, 0, 0)
                       : x.narrow(2, heads.front(), static_cast<int64_t>(heads.size()));
}

variable_list to_heads(const Exchange& exchange, const variable_list& tensors) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> parts;
  std::vector<int64_t> sent, received;
  for (int64_t r = 0; r < exchange.size(); ++r) {
    sent.push_back(0);
    received.push_back(0);
    for (size_t i = 0; i < tensors.size(); ++i) {
      const at::Tensor& x = tensors[i];
      parts.push_back(heads_of(x, exchange.heads[i][r]).flatten());
      sent.back() += parts.back().numel();
      received.back() += x.size(0) * exchange.counts[r] * x.size(3) *
                         static_cast<int64_t>(exchange.heads[i][exchange.own()].size());
    }
  }
  const at::Tensor arrived =
      exchange.ranks.group->all_to_all(at::cat(parts), sent, received, exchange.what());
  const int64_t length = exchange.ranks.row_length();
  variable_list all;
  for (size_t i = 0; i < tensors.size(); ++i)
    all.push_back(at::empty(
        {tensors[i].size(0), length, static_cast<int64_t>(exchange.heads[i][exchange.own()].size()),
         tensors[i].size(3)},
        tensors[i].options()));
  int64_t at = 0;
  for (int64_t r = 0; r < exchange.size(); ++r)
    for (at::Tensor& x : all) {
      const std::vector<int64_t> shape = {x.size(0), exchange.counts[r], x.size(2), x.size(3)};
      const int64_t numbers = shape[0] * shape[1] * shape[2] * shape[3];
      const at::Tensor part = arrived.narrow(0, at, numbers).view(shape);
      for (int64_t b = 0; b < exchange.batch(); ++b)
        x.select(0, b).index_copy_(0, exchange.index(b, exchange.row(b).places[r], x),
                                   part.select(0, b));
      at += numbers;
    }
  return all;
}

/// `head_counts`: how many heads each tensor has in all.
variable_list to_tokens(const Exchange& exchange, const variable_list& tensors,
                        const std::vector<int64_t>& head_counts) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> parts;
  std::vector<int64_t> sent, received;
  const int64_t own_tokens = exchange.counts[exchange.own()];
  for (int64_t r = 0; r < exchange.size(); ++r) {
    sent.push_back(0);
    received.push_back(0);
    for (size_t i = 0; i < tensors.size(); ++i) {
      const at::Tensor& x = tensors[i];
      for (int64_t b = 0; b < exchange.batch(); ++b) {
        parts.push_back(x.select(0, b)
                            .index_select(0, exchange.index(b, exchange.row(b).places[r], x))
                            .flatten());
        sent.back() += parts.back().numel();
      }
      received.back() +=
          x.size(0) * own_tokens * x.size(3) * static_cast<int64_t>(exchange.heads[i][r].size());
    }
  }
  const at::Tensor arrived =
      exchange.ranks.group->all_to_all(at::cat(parts), sent, received, exchange.what());
  variable_list sums;
  for (size_t i = 0; i < tensors.size(); ++i)
    sums.push_back(at::zeros({tensors[i].size(0), own_tokens, head_counts[i], tensors[i].size(3)},
                             tensors[i].options().dtype(sum_type(tensors[i]))));
  int64_t at = 0;
  for (int64_t r = 0; r < exchange.size(); ++r)
    for (size_t i = 0; i < sums.size(); ++i) {
      const auto heads = static_cast<int64_t>(exchange.heads[i][r].size());
      const int64_t numbers = sums[i].size(0) * own_tokens * heads * sums[i].size(3);
      heads_of(sums[i], exchange.heads[i][r])
          .add_(arrived.narrow(0, at, numbers)
                    .view({sums[i].size(0), own_tokens, heads, sums[i].size(3)}));
      at += numbers;
    }
  for (size_t i = 0; i < sums.size(); ++i) sums[i] = sums[i].to(tensors[i].scalar_type());
  return sums;
}

class TokensToHeads : public torch::autograd::Function<TokensToHeads> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                               const at::Tensor& v, const ExchangePtr& exchange) {
    keep(context, exchange);
    context->saved_data["heads"] = std::vector<int64_t>{q.size(2), k.size(2), v.size(2)};
    return to_heads(*exchange, {q, k, v});
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    variable_list of = to_tokens(*kept(context), grads, context->saved_data["heads"].toIntVector());
    of.emplace_back();
    return of;
  }
};

class HeadsToTokens : public torch::autograd::Function<HeadsToTokens> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const ExchangePtr& exchange) {
    keep(context, exchange);
    int64_t heads = 0;
    for (const auto& of_rank : exchange->heads[0]) heads += static_cast<int64_t>(of_rank.size());
    return to_tokens(*exchange, {x}, {heads})[0];
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    return {to_heads(*kept(context), {grads[0]})[0], {}};
  }
};

void check_share(const at::Tensor& x, const ContextRanks& ranks, const char* function) {
  const std::vector<int64_t> counts = ranks.counts();
  COEUS_CHECK(
      static_cast<int64_t>(counts.size()) == ranks.group->size() &&
          x.size(0) == ranks.batch_size() && x.size(1) == counts[ranks.group->rank()],
      "[{}] {}: the mask spreads {} rows over ranks of {} tokens, and rank {} of {} has {}; "
      "select tokens by the plan that the mask was made with",
      function, ranks.what, ranks.batch_size(), fmt::join(counts, ", "), ranks.group->rank(),
      ranks.group->size(), x.sizes());
}

}  // namespace

std::vector<int64_t> ContextRanks::counts() const {
  std::vector<int64_t> counts;
  for (const auto& places : rows.at(0)->places)
    counts.push_back(static_cast<int64_t>(places.size()));
  return counts;
}

int64_t ContextRanks::row_length() const {
  const std::vector<int64_t> all = counts();
  return std::accumulate(all.begin(), all.end(), int64_t{0});
}

at::Tensor gather_tokens(const at::Tensor& x, const ContextRanks& ranks) {
  check_share(x, ranks, "gather_tokens");
  return GatherTokens::apply(x, c10::make_intrusive<Exchange>(ranks));
}

std::vector<at::Tensor> gather_needed_tokens(const at::Tensor& x, const ContextRanks& ranks) {
  check_share(x, ranks, "gather_needed_tokens");
  return GatherNeededTokens::apply(x, c10::make_intrusive<Exchange>(ranks));
}

QueriesKeysValues tokens_to_heads(const QueriesKeysValues& x, const HeadsByRank& query_heads,
                                  const HeadsByRank& key_heads, const ContextRanks& ranks) {
  for (const at::Tensor& part : {x.q, x.k, x.v}) check_share(part, ranks, "tokens_to_heads");
  const variable_list all =
      TokensToHeads::apply(x.q, x.k, x.v,
                           c10::make_intrusive<Exchange>(
                               ranks, std::vector<HeadsByRank>{query_heads, key_heads, key_heads}));
  return {all[0], all[1], all[2]};
}

at::Tensor heads_to_tokens(const at::Tensor& x, const HeadsByRank& heads,
                           const ContextRanks& ranks) {
  return HeadsToTokens::apply(
      x, c10::make_intrusive<Exchange>(ranks, std::vector<HeadsByRank>{heads}));
}

}  // namespace coeus
