// A rank's tokens of tensors that follow the sequence.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "coeus/parallel/context/plan/context_rows.h"

namespace coeus {

/// x: [rows, row_length, …], any tensor that depends on the order of the sequence. Returns [rows,
/// tokens of `rank`, …], in the order in which the rank stores them; gradients flow back. Throws
/// Error for other rows than were planned.
at::Tensor select_tokens(const at::Tensor& x, const ContextRows& rows, int64_t rank);

}  // namespace coeus
