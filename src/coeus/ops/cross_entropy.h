#pragma once

#include <ATen/core/Tensor.h>

namespace coeus {

/// Labels of this value count for nothing.
inline constexpr int64_t kIgnoreLabel = -100;

/// The sum over all labels but kIgnoreLabel of -log softmax(logits)[label], as a float32 scalar;
/// divide by the number of such labels in the global batch to get the loss.
/// logits: [..., vocab] of any float dtype (the log-sum-exp is taken in float32); labels: int64
/// [...]. Throws Error when shapes disagree or a label is neither kIgnoreLabel nor in [0, vocab).
at::Tensor cross_entropy_sum(const at::Tensor& logits, const at::Tensor& labels);

/// The same by plain tensor operations: what `cross_entropy_sum` is tested against.
at::Tensor cross_entropy_sum_reference(const at::Tensor& logits, const at::Tensor& labels);

}  // namespace coeus
