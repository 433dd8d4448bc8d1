// One run of attention: its shape, its tensors and the work of the kernels.
#pragma once

#include <cstdint>

#include "arena.h"
#include "coeus/kernels/cuda/attention.h"
#include "tensor.h"

namespace coeus::cuda {

/// Heads of queries, and of keys and values.
struct Heads {
  int heads;
  int kv_heads;
};

/// Elements of a head of queries and keys, and of values.
struct Dims {
  int head_dim;
  int value_dim;
};

/// What is asked of the kernels, but for the tensors.
struct Problem {
  AttentionShape shape;
  ElementType type = ElementType::kBFloat16;
  Layout layout = Layout::kTokens;
  float scale = 0;
  DeviceMask mask;
  bool deterministic = false;  ///< of backward
};

/// What forward and backward passes read.
struct Inputs {
  Tensor q, k, v, grad_out;
};

/// What they write.
struct Results {
  Tensor out, grad_q, grad_k, grad_v;
  float* lse = nullptr;
};

/// To loop over them.
using Input = Tensor Inputs::*;
using Result = Tensor Results::*;
constexpr Input kInputs[] = {&Inputs::q, &Inputs::k, &Inputs::v, &Inputs::grad_out};
constexpr Result kGradients[] = {&Results::grad_q, &Results::grad_k, &Results::grad_v};

/// Take memory for the tensors.
Inputs make_inputs(Arena& arena, const Problem& p);
Results make_results(Arena& arena, const Problem& p);

/// Elements of Results::lse.
int64_t lse_count(const AttentionShape& s);

/// The work of one pass; `counter` is its int of scratch.
AttentionForward forward_of(const Problem& p, const Inputs& in, const Results& r, int* counter);
/// `forward` has what the forward pass made, `r` gets the gradients.
AttentionBackward backward_of(const Problem& p, const Inputs& in, const Results& forward,
                              const Results& r, void* scratch);

}  // namespace coeus::cuda
