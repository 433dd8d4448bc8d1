#pragma once

#include <ATen/core/Tensor.h>

namespace coeus::nn {

/// The (token, choice) pairs of a routing, sorted by expert; pairs of one expert keep their order.
/// Pair p is choice p % top_k of token p / top_k.
struct TokenOrder {
  int64_t top_k = 1;
  at::Tensor pairs;        ///< int64 [tokens * top_k]: the pair at each place of the sorted order
  at::Tensor places;       ///< int64 [tokens * top_k]: the place of each pair, the inverse
  at::Tensor expert_ends;  ///< int32 [num_experts]: one past the last place of each expert
};

/// experts: int64 [tokens, top_k]. Nothing is read back from a GPU.
TokenOrder order_by_expert(const at::Tensor& experts, int64_t num_experts);

/// The same by sorting tensors: for any device, and what the CPU's counting sort is tested against.
TokenOrder order_by_expert_reference(const at::Tensor& experts, int64_t num_experts);

/// How many pairs each expert has: int64 [num_experts].
at::Tensor tokens_per_expert(const TokenOrder& order);

/// x: [tokens, dim]. Returns [tokens * top_k, dim]: each place's token. Unlike gather and
/// scatter_add, forward and backward are reads alone, so the sums come in a fixed order.
at::Tensor to_expert_order(const at::Tensor& x, const TokenOrder& order);

/// y: [tokens * top_k, dim] by place. Returns [tokens, dim]: the sum over each token's places.
at::Tensor from_expert_order(const at::Tensor& y, const TokenOrder& order);

}  // namespace coeus::nn
