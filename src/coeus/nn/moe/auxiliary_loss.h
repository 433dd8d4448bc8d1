// Losses of the router, beside the model's own.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace coeus::nn {

/// x, whose backward also computes the gradient of `loss` (float32 []), as if loss had been added
/// to what the model minimises. So a layer adds its loss where it stands: under recomputation, and
/// without the layers above knowing of it (as DeepSeek-V2's own model code does).
at::Tensor with_auxiliary_loss(const at::Tensor& x, const at::Tensor& loss);

/// DeepSeek-V3's balance loss (arXiv 2412.19437, equations 17 to 20) without its coefficient, the
/// mean over rows: sum over experts of f P, f being the expert's share of the row's choices times
/// the number of experts, and P the mean over the row's tokens of its affinity divided by the sum
/// of the token's affinities. affinity: [rows * seq, num_experts]; experts: [rows * seq, top_k].
///
/// Where ranks have shares of the same rows, `sum_over_shares` sums a tensor in place over these
/// ranks, and the results of all of them add up to the loss.
at::Tensor sequence_balance_loss(const at::Tensor& affinity, const at::Tensor& experts,
                                 int64_t rows,
                                 const std::function<void(at::Tensor&)>& sum_over_shares = {});

/// The mean over tokens of logsumexp(logits)^2 (Zoph et al., ST-MoE, arXiv 2202.08906).
/// logits: [tokens, num_experts]; sum_over_shares: as above.
at::Tensor router_z_loss(const at::Tensor& logits,
                         const std::function<void(at::Tensor&)>& sum_over_shares = {});

}  // namespace coeus::nn
