// Which tiles of keys a tile of queries touches, found from the ranks it sees.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coeus/mask/key_order.h"

namespace coeus {

/// Key tiles [begin, end).
struct TileRange {
  int32_t begin = 0;
  int32_t end = 0;
  bool is_full = false;
};

class KeyTiles {
 public:
  /// `ranks` as in KeyOrder::ranks: empty when the keys are stored in the order of their indices.
  KeyTiles(std::span<const int32_t> ranks, int64_t key_count, int64_t tile_k);

  int32_t key_count() const { return key_count_; }
  int32_t tile_count() const { return tile_count_; }

  /// Tiles with a key in `touched`; full those with all keys in `sure`. Both ascend and are apart,
  /// and `sure` lies within `touched`. The result ascends; neighbours differ in is_full or do not
  /// touch.
  void classify(std::span<const RankRange> touched, std::span<const RankRange> sure,
                std::vector<TileRange>& out);

 private:
  void classify_stored(std::span<const RankRange> touched, std::span<const RankRange> sure,
                       std::vector<TileRange>& out) const;
  void count_by_runs(std::span<const RankRange> ranges, std::vector<int32_t>& counts);
  void count_by_tiles(std::span<const RankRange> ranges, std::vector<int32_t>& counts);
  int64_t runs_within(std::span<const RankRange> ranges) const;
  int32_t tile_size(int32_t tile) const;

  int32_t key_count_;
  int32_t tile_k_;
  int32_t tile_count_;
  bool is_stored_;
  /// Ranks [run_begins_[i], run_begins_[i + 1]) all lie in tile run_tiles_[i].
  std::vector<int32_t> run_begins_;
  std::vector<int32_t> run_tiles_;
  /// The ranks of each tile's keys, sorted, tile by tile.
  std::vector<int32_t> tile_ranks_;
  std::vector<int32_t> touched_counts_;
  std::vector<int32_t> sure_counts_;
  std::vector<int32_t> seen_tiles_;
};

}  // namespace coeus
