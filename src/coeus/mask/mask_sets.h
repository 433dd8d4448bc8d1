// A mask's meaning as sets of ranks, a tile of queries at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "coeus/mask/key_order.h"
#include "coeus/mask/mask_node.h"
#include "coeus/mask/rank_sets.h"
#include "coeus/mask/sequence_layout.h"

namespace coeus {

/// Says for each query which keys it sees, as a set of ranks, or, where leaves are no such sets
/// (dilated, dense, predicate; documents cut into too many runs), bounds of it: keys it certainly
/// sees and keys it may see. Exact when `is_closed`.
class MaskSets {
 public:
  enum class Bound { kCertain, kPossible };

  /// `mask` and `layout` must outlive this.
  MaskSets(const MaskNode& mask, const SequenceLayout& layout, const KeyOrder& order);

  bool is_closed() const { return is_closed_; }
  /// The sets of queries [begin, end); valid until the next call.
  RankSets& evaluate(int64_t begin, int64_t end, Bound bound);

 private:
  struct Step;
  void evaluate(Step& step, int64_t begin, int64_t end, Bound bound);
  void evaluate_leaf(Step& step, std::span<const int32_t> indices,
                     std::span<const int32_t> documents, Bound bound);
  std::unique_ptr<Step> make_step(const MaskNode& node);

  const SequenceLayout& layout_;
  const KeyOrder& order_;
  bool is_closed_ = true;
  std::shared_ptr<Step> root_;
};

}  // namespace coeus
