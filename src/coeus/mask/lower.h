// From masks to tiles.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "coeus/mask/block_mask.h"
#include "coeus/mask/mask.h"
#include "coeus/mask/sequence_layout.h"

namespace coeus {

struct LowerOptions {
  /// Tokens a tile, from 1 to 4096.
  int64_t tile_q = 128;
  int64_t tile_k = 128;
};

/// Lowers `mask` for every row of a batch. Exact for any mask and layout. Masks made of intervals
/// (all leaves but `dilated`, `dense` and `predicate`) take time and memory in proportion to tokens
/// and tiles touched; of the others, tiles that the rest of the expression leaves undecided are
/// decided by their elements. Rows that agree in every attribute the mask looks at are lowered
/// once and shared. Throws Error when rows differ in length, a tile size is out of range, or a
/// `predicate` throws.
BlockMask lower(const Mask& mask, std::span<const SequenceLayout> rows, LowerOptions options = {});

/// Lowers one row. Shares no mutable state, so rows may be lowered by several threads at once.
std::shared_ptr<const BlockMaskRow> lower_row(const Mask& mask, const SequenceLayout& layout,
                                              LowerOptions options = {});

}  // namespace coeus
