// Attention in float64 on the CPU, by its definition.
#pragma once

#include <cstdint>
#include <vector>

#include "coeus/kernels/cuda/attention.h"

namespace coeus::cuda {

/// The results of a batch of one in float64, [tokens, heads, dim]; lse [heads, queries].
struct Exact {
  std::vector<double> out, lse, grad_q, grad_k, grad_v;
};

/// The inputs of a batch of one, [tokens, heads, dim].
struct ExactInputs {
  std::vector<float> q, k, v, grad_out;
};

/// Takes a thread a head. `sees` has whether a query sees a key, [queries, keys].
Exact attend_exactly(const AttentionShape& s, float scale, const std::vector<uint8_t>& sees,
                     const ExactInputs& in);

}  // namespace coeus::cuda
