#include "coeus/nn/moe/token_order.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <limits>

#include "coeus/base/error.h"

namespace coeus::nn {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A counting sort, where the host may look at the values.
TokenOrder order_on_cpu(const at::Tensor& experts, int64_t num_experts) {
  const int64_t pairs = experts.numel();
  const auto* expert_of = experts.const_data_ptr<int64_t>();
  std::vector<int64_t> next(num_experts + 1, 0);
  for (int64_t p = 0; p < pairs; ++p) {
    COEUS_ASSERT(expert_of[p] >= 0 && expert_of[p] < num_experts);
    ++next[expert_of[p] + 1];
  }
  TokenOrder order = {experts.size(1), at::empty({pairs}, at::kLong), at::empty({pairs}, at::kLong),
                      at::empty({num_experts}, at::kInt)};
  auto* ends = order.expert_ends.mutable_data_ptr<int32_t>();
  for (int64_t e = 0; e < num_experts; ++e) {
    next[e + 1] += next[e];
    ends[e] = static_cast<int32_t>(next[e + 1]);
  }
  auto* pair_at = order.pairs.mutable_data_ptr<int64_t>();
  auto* place_of = order.places.mutable_data_ptr<int64_t>();
  for (int64_t p = 0; p < pairs; ++p) {
    const int64_t place = next[expert_of[p]]++;
    pair_at[place] = p;
    place_of[p] = place;
  }
  return order;
}

at::Tensor rows_by_place(const at::Tensor& x, const at::Tensor& pairs, int64_t top_k) {
  return x.index_select(0, top_k == 1 ? pairs : pairs.floor_divide(top_k));
}

at::Tensor sum_by_token(const at::Tensor& y, const at::Tensor& places, int64_t top_k) {
  const at::Tensor by_pair = y.index_select(0, places);
  return top_k == 1 ? by_pair : by_pair.unflatten(0, {-1, top_k}).sum(1);
}

/// The two are each other's transpose.
class ToExpertOrder : public torch::autograd::Function<ToExpertOrder> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& pairs,
                            const at::Tensor& places, int64_t top_k) {
    context->save_for_backward({places});
    context->saved_data["top_k"] = top_k;
    return rows_by_place(x, pairs, top_k);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    return {sum_by_token(grads[0], context->get_saved_variables()[0],
                         context->saved_data["top_k"].toInt()),
            {},
            {},
            {}};
  }
};

class FromExpertOrder : public torch::autograd::Function<FromExpertOrder> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& y, const at::Tensor& pairs,
                            const at::Tensor& places, int64_t top_k) {
    context->save_for_backward({pairs});
    context->saved_data["top_k"] = top_k;
    return sum_by_token(y, places, top_k);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    return {rows_by_place(grads[0], context->get_saved_variables()[0],
                          context->saved_data["top_k"].toInt()),
            {},
            {},
            {}};
  }
};

}  // namespace

TokenOrder order_by_expert(const at::Tensor& experts, int64_t num_experts) {
  COEUS_CHECK(experts.dim() == 2 && experts.scalar_type() == at::kLong,
              "[order_by_expert] experts must be int64 [tokens, top_k], got {} {}",
              c10::toString(experts.scalar_type()), experts.sizes());
  COEUS_CHECK(experts.numel() <= std::numeric_limits<int32_t>::max(),
              "[order_by_expert] {} pairs of tokens and experts are more than int32 counts",
              experts.numel());
  at::NoGradGuard no_grad;
  return experts.device().is_cpu() ? order_on_cpu(experts.contiguous(), num_experts)
                                   : order_by_expert_reference(experts, num_experts);
}

TokenOrder order_by_expert_reference(const at::Tensor& experts, int64_t num_experts) {
  const auto [sorted, pairs] =
      experts.flatten().sort(/*stable=*/true, /*dim=*/0, /*descending=*/false);
  const auto count = [&](int64_t n) { return at::arange(n, experts.options()); };
  const at::Tensor places = at::empty_like(pairs).scatter_(0, pairs, count(pairs.numel()));
  const at::Tensor ends =
      at::searchsorted(sorted, count(num_experts), /*out_int32=*/true, /*right=*/true);
  return {experts.size(1), pairs, places, ends};
}

at::Tensor tokens_per_expert(const TokenOrder& order) {
  const at::Tensor ends = order.expert_ends.to(at::kLong);
  at::Tensor counts = ends.clone();
  counts.slice(0, 1).sub_(ends.slice(0, 0, -1));
  return counts;
}

at::Tensor to_expert_order(const at::Tensor& x, const TokenOrder& order) {
  return ToExpertOrder::apply(x, order.pairs, order.places, order.top_k);
}

at::Tensor from_expert_order(const at::Tensor& y, const TokenOrder& order) {
  return FromExpertOrder::apply(y, order.pairs, order.places, order.top_k);
}

}  // namespace coeus::nn
