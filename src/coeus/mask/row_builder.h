// Putting a lowered row together, query tile by query tile.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "coeus/mask/block_mask.h"
#include "coeus/mask/key_tiles.h"
#include "coeus/mask/rank_sets.h"

namespace coeus {

/// Per tile of the other side the tiles of `lists`' side. `entries` tells for each partial tile of
/// the result its number among the partial tiles of `lists`.
TileLists transpose(const TileLists& lists, int64_t other_tiles, std::vector<int32_t>& entries);

/// Call add_* for the key tiles of a query tile in ascending order, then end_query_tile, for every
/// query tile; then finish once. Either every query tile has its intervals added or none.
class RowBuilder {
 public:
  RowBuilder(int64_t query_length, int64_t key_length, int64_t tile_q, int64_t tile_k);

  int64_t query_begin() const { return query_tile_ * row_->tile_q; }
  int64_t query_end() const { return std::min(query_begin() + row_->tile_q, row_->query_length); }
  bool is_complete() const { return query_tile_ == row_->query_tiles(); }

  void add_full(int32_t begin, int32_t end);
  void add_partial(int32_t tile);
  /// `elements` holds a byte (0 or 1) for each pair of the tile's queries and its keys that exist.
  /// Adds a full tile, a partial tile with its bits, or nothing, as they demand.
  void add_elements(int32_t tile, std::span<const uint8_t> elements);
  /// What the tile's queries see; `sets` must be compact.
  void add_intervals(const RankSets& sets);
  void end_query_tile();

  /// `key_ranks` as in BlockMaskRow; only for rows with intervals.
  std::shared_ptr<const BlockMaskRow> finish(std::vector<int32_t> key_ranks);

 private:
  std::shared_ptr<BlockMaskRow> row_;
  int64_t query_tile_ = 0;
  int64_t full_ranges_before_ = 0;
  /// Pairs in full tiles and in partial tiles with bits.
  int64_t visible_ = 0;
  int64_t area_of_intervals_ = 0;
  /// Per slot, the ranges of all queries so far.
  std::vector<std::vector<int32_t>> begins_;
  std::vector<std::vector<int32_t>> ends_;
};

/// Adds all query tiles from sets of ranks: `sets_of(query_begin, query_end)` gives compact sets,
/// or null to stop; then the result is false.
template <typename SetsOf>
bool build_from_sets(KeyTiles& key_tiles, SetsOf sets_of, RowBuilder& builder) {
  std::vector<RankRange> touched;
  std::vector<RankRange> sure;
  std::vector<TileRange> tiles;
  while (!builder.is_complete()) {
    const RankSets* const sets = sets_of(builder.query_begin(), builder.query_end());
    if (sets == nullptr) return false;
    unite_queries(*sets, touched);
    intersect_queries(*sets, key_tiles.key_count(), sure);
    key_tiles.classify(touched, sure, tiles);
    for (const TileRange& range : tiles) {
      if (range.is_full) {
        builder.add_full(range.begin, range.end);
      } else {
        for (int32_t tile = range.begin; tile < range.end; ++tile) builder.add_partial(tile);
      }
    }
    builder.add_intervals(*sets);
    builder.end_query_tile();
  }
  return true;
}

}  // namespace coeus
