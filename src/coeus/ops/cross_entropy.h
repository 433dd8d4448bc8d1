#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "coeus/base/ignored_label.h"

namespace coeus {

/// The sum over all labels but kIgnoredLabel of -log softmax(logits)[label], as a float32 scalar;
/// divide by the number of such labels in the global batch to get the loss.
/// logits: [..., vocab] of any float dtype (the log-sum-exp is taken in float32); labels: int64
/// [...]. Throws Error when shapes disagree or a label is neither kIgnoredLabel nor in [0, vocab).
at::Tensor cross_entropy_sum(const at::Tensor& logits, const at::Tensor& labels);

/// The same for logits that nobody reads again: on a GPU backward writes their gradient in their
/// place, so that there is never room for both. Autograd then refuses a second backward pass.
at::Tensor cross_entropy_sum_in_place(const at::Tensor& logits, const at::Tensor& labels);

/// The same by plain tensor operations: what `cross_entropy_sum` is tested against.
at::Tensor cross_entropy_sum_reference(const at::Tensor& logits, const at::Tensor& labels);

/// What may take the place of cross_entropy_sum_in_place: for logits that are spread over ranks.
using CrossEntropy = std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& labels)>;

}  // namespace coeus
