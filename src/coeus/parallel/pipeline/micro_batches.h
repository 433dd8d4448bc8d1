// A batch cut into micro-batches, with everything that belongs to its tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "coeus/mask/block_mask.h"

namespace coeus {

/// What a pipeline rank knows of a batch; every rank of a pipeline has the same.
struct PipelineBatch {
  at::Tensor tokens;     ///< int64 [rows, seq]
  at::Tensor labels;     ///< int64 [rows, seq]; may be undefined where there is no last stage
  at::Tensor positions;  ///< int32 [rows, seq]
  AttentionMasks masks;  ///< of `rows` rows each
};

/// Some rows of a batch. Tensors are views, masks share their rows: nothing is lowered anew.
struct MicroBatch {
  int64_t first_row = 0;
  int64_t rows = 0;
  at::Tensor tokens;
  at::Tensor labels;
  at::Tensor positions;
  AttentionMasks masks;
};

/// Micro-batches of `rows` rows, in order; the last has what is left. Throws Error when the batch's
/// parts disagree about its rows.
std::vector<MicroBatch> cut_into_micro_batches(const PipelineBatch& batch, int64_t rows);

}  // namespace coeus
