#include "coeus/mask/lower.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/key_order.h"
#include "coeus/mask/key_tiles.h"
#include "coeus/mask/mask_node.h"
#include "coeus/mask/mask_sets.h"
#include "coeus/mask/rank_sets.h"
#include "coeus/mask/row_builder.h"
#include "coeus/mask/tile_elements.h"

namespace coeus {
namespace {

/// Queries with more runs of keys than this get bits: an engine tests all intervals of a query for
/// each element of a partial tile.
constexpr int kMostIntervals = 4;

using RowPointer = std::shared_ptr<const BlockMaskRow>;

void check_options(const LowerOptions& options) {
  for (const auto& [name, size] :
       {std::pair{"tile_q", options.tile_q}, {"tile_k", options.tile_k}}) {
    COEUS_CHECK(size >= 1 && size <= 4096, "[lower] {} must be from 1 to 4096 tokens, got {}", name,
                size);
  }
}

/// Null when some query sees more runs of keys than intervals can say.
RowPointer lower_to_intervals(const SequenceLayout& layout, const KeyOrder& order, MaskSets& sets,
                              const LowerOptions& options) {
  RowBuilder builder(layout.query_length(), layout.key_length(), options.tile_q, options.tile_k);
  KeyTiles key_tiles(order.ranks(), layout.key_length(), options.tile_k);
  const auto sets_of = [&](int64_t begin, int64_t end) -> const RankSets* {
    RankSets& seen = sets.evaluate(begin, end, MaskSets::Bound::kCertain);
    seen.compact();
    return seen.slots() <= kMostIntervals ? &seen : nullptr;
  };
  return build_from_sets(key_tiles, sets_of, builder) ? builder.finish(order.ranks()) : nullptr;
}

RowPointer lower_to_bits(const MaskNode& mask, const SequenceLayout& layout, const KeyOrder& order,
                         MaskSets& sets, const LowerOptions& options) {
  RowBuilder builder(layout.query_length(), layout.key_length(), options.tile_q, options.tile_k);
  KeyTiles key_tiles(order.ranks(), layout.key_length(), options.tile_k);
  TileElements elements(mask, layout);
  std::vector<RankRange> touched;
  std::vector<RankRange> sure;
  std::vector<TileRange> tiles;
  while (!builder.is_complete()) {
    const int64_t begin = builder.query_begin();
    const int64_t end = builder.query_end();
    unite_queries(sets.evaluate(begin, end, MaskSets::Bound::kPossible), touched);
    intersect_queries(sets.evaluate(begin, end, MaskSets::Bound::kCertain), order.size(), sure);
    key_tiles.classify(touched, sure, tiles);
    for (const TileRange& range : tiles) {
      if (range.is_full) {
        builder.add_full(range.begin, range.end);
        continue;
      }
      for (int32_t tile = range.begin; tile < range.end; ++tile) {
        const int64_t key_begin = tile * options.tile_k;
        const int64_t key_end = std::min(key_begin + options.tile_k, layout.key_length());
        builder.add_elements(tile, elements.evaluate(begin, end, key_begin, key_end));
      }
    }
    builder.end_query_tile();
  }
  return builder.finish({});
}

bool agree(const TokenAttributes& a, const TokenAttributes& b, const AttributeUse& use) {
  return &a == &b ||
         ((!use.index || a.index == b.index) && (!use.document || a.document == b.document) &&
          (!use.offset || a.offset == b.offset) && (!use.extra || a.extra == b.extra));
}

}  // namespace

RowPointer lower_row(const Mask& mask, const SequenceLayout& layout, LowerOptions options) {
  check_options(options);
  const Mask simple = mask.simplified();
  const KeyOrder order(*layout.key());
  MaskSets sets(simple.node(), layout, order);
  if (sets.is_closed()) {
    if (auto row = lower_to_intervals(layout, order, sets, options)) return row;
  }
  return lower_to_bits(simple.node(), layout, order, sets, options);
}

BlockMask lower(const Mask& mask, std::span<const SequenceLayout> rows, LowerOptions options) {
  check_options(options);
  const AttributeUse use = attributes_used(mask.simplified().node());
  std::vector<RowPointer> lowered;
  for (size_t i = 0; i < rows.size(); ++i) {
    COEUS_CHECK(rows[i].query_length() == rows[0].query_length() &&
                    rows[i].key_length() == rows[0].key_length(),
                "[lower] row {} has {} queries and {} keys, row 0 has {} and {}; all rows of a "
                "batch must be equally long",
                i, rows[i].query_length(), rows[i].key_length(), rows[0].query_length(),
                rows[0].key_length());
    RowPointer row;
    for (size_t j = 0; j < i && row == nullptr; ++j) {
      if (agree(*rows[i].query(), *rows[j].query(), use) &&
          agree(*rows[i].key(), *rows[j].key(), use)) {
        row = lowered[j];
      }
    }
    lowered.push_back(row != nullptr ? row : lower_row(mask, rows[i], options));
  }
  return BlockMask(std::move(lowered));
}

}  // namespace coeus
