// One rank's part of a row's attention, where several ranks have the row's tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "coeus/mask/block_mask.h"

namespace coeus {

/// How keys and values reach the queries of other ranks under context parallelism.
enum class ContextMethod {
  kAllGather,  ///< every rank gets all keys (Llama 3, arXiv 2407.21783, section 3.3.2)
  kRing,       ///< keys go round, a rank's share at a time (Liu et al., arXiv 2310.01889)
  kAllToAll,   ///< ranks get all tokens of some heads (DeepSpeed-Ulysses, arXiv 2309.14509)
  kNeeded,     ///< every rank gets the keys that its queries see
};

/// What a rank must know of a row beside its own mask to attend together with the others. All of
/// it is decided on the host before the step. "Row order" is that of the whole row's tokens as the
/// mask was planned for them.
struct ContextShard {
  ContextMethod method = ContextMethod::kAllGather;
  int64_t rank = 0;
  /// For each rank the places in the row of its tokens, in the order in which it stores them.
  std::vector<std::vector<int32_t>> places;
  /// The masks that this rank computes by, where the row itself (its queries over all keys in row
  /// order) is not the one. kAllToAll: all queries over all keys, both in row order. kNeeded: its
  /// queries over the keys that they see, in row order. kRing: its queries over the keys of rank r,
  /// at r, as that rank stores them.
  std::vector<std::shared_ptr<const BlockMaskRow>> pieces = {};
  /// kNeeded: for each rank the tokens of this one, counted as it stores them, that the rank's
  /// queries see; at `rank`, those that its own do.
  std::vector<std::vector<int32_t>> sent = {};
  /// kNeeded: for each rank, where what it sends stands among the keys of the piece.
  std::vector<std::vector<int32_t>> received = {};
};

}  // namespace coeus
