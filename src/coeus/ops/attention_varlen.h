#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "coeus/mask/block_mask.h"
#include "coeus/ops/attention_part.h"

namespace coeus {

/// LibTorch's attention on CUDA over a mask that is a list of causal or full runs of tokens in
/// every row (BlockMask::segments): cuDNN's where all rows are one causal or full run over all
/// keys, else all runs in one or two calls of FlashAttention-2 (Dao, arXiv 2307.08691) for
/// sequences of different lengths. bfloat16 and float16; key heads may be shared, and keys as wide
/// as values. Arguments as in coeus::attention, checked but for what the mask is made of. Throws
/// Error for a mask of other parts.
AttentionPart varlen_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const BlockMask& mask, double scale);
AttentionGradients varlen_attention_backward(const at::Tensor& grad_out, const at::Tensor& q,
                                             const at::Tensor& k, const at::Tensor& v,
                                             const at::Tensor& out, const at::Tensor& lse,
                                             const BlockMask& mask, double scale);

/// Why it does not take such tensors; empty when it does.
std::string varlen_refusal(const at::Tensor& q, const at::Tensor& v);

/// The runs that a row of the mask is made of, as the engine sdpa takes them on any device. Throws
/// Error for a row of other parts.
std::vector<Segment> runs_of(const BlockMask& mask, int64_t row);

/// Whether cuDNN would do the work, as a list of one run.
bool is_one_run(const BlockMask& mask);

}  // namespace coeus
