#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "coeus/comm/process_group.h"
#include "coeus/parallel/tensor/even_share.h"

namespace coeus {

/// cross_entropy_sum of logits whose last dimension, the vocabulary, is spread over `group`: each
/// rank's maximum, sum of exponentials and label's logit of a token are exchanged, the logits stay
/// where they are (Megatron-LM, arXiv 1909.08053, 3). logits: [..., own.size], the columns from
/// own.begin of a vocabulary of vocab_size; labels: int64 [...], the same on every rank. The sum,
/// too, is the same on every rank; backward exchanges nothing. Throws Error as cross_entropy_sum
/// does.
at::Tensor loss_parallel_cross_entropy_sum(const at::Tensor& logits, const at::Tensor& labels,
                                           const EvenShare& own, int64_t vocab_size,
                                           const std::shared_ptr<ProcessGroup>& group);

}  // namespace coeus
