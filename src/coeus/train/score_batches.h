// Lines to score, put together for a model's forward pass.
#pragma once

#include <cstdint>
#include <vector>

#include "coeus/data/loader.h"
#include "coeus/mask/block_mask.h"
#include "coeus/models/model.h"
#include "coeus/train/score_input.h"

namespace coeus {

/// Rows of one length. Each is a line without its last token, which predicts nothing, and padding.
struct ScoreBatch {
  std::vector<size_t> lines;       ///< the line of each row
  std::vector<int32_t> tokens;     ///< [rows, row_length], row-major
  std::vector<int32_t> positions;  ///< the same
  AttentionMasks masks;
};

/// Puts lines of much the same length together, the longest first: a batch holds at most
/// `most_tokens` of them, padding included, or one line, and padding is at most an eighth of a row.
/// Lines with nothing to score are left out.
std::vector<std::vector<size_t>> group_by_length(const std::vector<ScoreLine>& lines,
                                                 int64_t most_tokens);

/// Makes batches of a group. One, padded at its rows' ends by a document of its own, unless some
/// mask of the model would let a token see the padding: then one for each length.
std::vector<ScoreBatch> make_score_batches(const Model& model, const std::vector<ScoreLine>& lines,
                                           const std::vector<size_t>& group, Positions positions);

}  // namespace coeus
