#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "coeus/ops/cross_entropy.h"

namespace coeus {

/// cross_entropy(linear(hidden, weight), labels) without ever holding all of the logits: chunk_size
/// rows of them, and their gradient, are there at a time. hidden: [..., dim]; weight: [vocab, dim];
/// labels: int64 [...]; float32 or double, a scalar. Under autocast products are in its dtype.
///
/// Where gradients are wanted forward computes them, so that logits are made once, and keeps them,
/// as large as hidden and weight, in float32 (double for doubles) until backward, which scales
/// them: it can run only once. The weight's gradient is a sum over chunks in that dtype. A GPU
/// rounds nothing on the way; elsewhere a chunk's product is rounded to the dtype of products.
///
/// `cross_entropy` takes logits [rows, vocab] and labels [rows], the same number of times for equal
/// numbers of rows. Throws Error when shapes disagree or chunk_size is below 1, and as
/// `cross_entropy` does.
at::Tensor linear_cross_entropy_sum(const at::Tensor& hidden, const at::Tensor& weight,
                                    const at::Tensor& labels, int64_t chunk_size,
                                    const CrossEntropy& cross_entropy = cross_entropy_sum);

/// The same with all logits at once, by plain tensor operations: what `linear_cross_entropy_sum` is
/// tested against.
at::Tensor linear_cross_entropy_sum_reference(const at::Tensor& hidden, const at::Tensor& weight,
                                              const at::Tensor& labels);

}  // namespace coeus
