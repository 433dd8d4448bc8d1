// A lowered mask as a grid of cells, however large the row: what the drawings are made from.
#pragma once

#include <cstdint>
#include <vector>

#include "coeus/mask/block_mask.h"
#include "coeus/mask/sequence_layout.h"

namespace coeus {

/// A grid of cells of `cell_q` queries (down) by `cell_k` keys (across), the last ones smaller.
struct MaskPicture {
  int64_t queries = 0;
  int64_t keys = 0;
  int64_t cell_q = 1;
  int64_t cell_k = 1;
  /// Visible pairs in each cell, [rows, columns].
  std::vector<int64_t> visible;

  int64_t rows() const { return (queries + cell_q - 1) / cell_q; }
  int64_t columns() const { return (keys + cell_k - 1) / cell_k; }
  int64_t cell_area(int64_t row, int64_t column) const;
  /// The share of a cell's pairs that is visible, from 0 to 1.
  double share(int64_t row, int64_t column) const;
};

/// Takes O(queries + cells) for masks of intervals whose keys are stored in order, else O(queries x
/// tiles + elements of partial tiles).
MaskPicture picture_of(const BlockMaskRow& row, int64_t cell_q, int64_t cell_k);

/// Places (in storage) at which another document begins than the token before belongs to.
std::vector<int64_t> document_boundaries(const TokenAttributes& tokens);

}  // namespace coeus
