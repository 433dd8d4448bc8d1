// Attention with keys that go round the ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "coeus/mask/block_mask.h"
#include "coeus/ops/attention.h"
#include "coeus/parallel/context/token_exchange.h"

namespace coeus {

/// Attention of this rank's queries over all ranks' keys: each step attends to one rank's keys
/// while the next rank's are on their way, and results are merged by their log-sum-exp (Ring
/// Attention: Liu et al., arXiv 2310.01889). Backward sends the keys round once more, and their
/// gradients one step behind them. q, k, v: [batch, this rank's tokens, heads, dim]; masks[r]: of
/// this rank's queries over rank r's keys. Returns [batch, this rank's tokens, heads, value_dim].
at::Tensor ring_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const std::vector<BlockMask>& masks, AttentionEngine engine, double scale,
                          const ContextRanks& ranks);

}  // namespace coeus
