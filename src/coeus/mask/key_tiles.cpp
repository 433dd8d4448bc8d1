#include "coeus/mask/key_tiles.h"

#include <algorithm>

namespace coeus {
namespace {

void append_tiles(int32_t begin, int32_t end, bool is_full, std::vector<TileRange>& out) {
  if (begin >= end) return;
  if (!out.empty() && out.back().is_full == is_full && out.back().end == begin) {
    out.back().end = end;
  } else {
    out.push_back({begin, end, is_full});
  }
}

}  // namespace

KeyTiles::KeyTiles(std::span<const int32_t> ranks, int64_t key_count, int64_t tile_k)
    : key_count_(static_cast<int32_t>(key_count)),
      tile_k_(static_cast<int32_t>(tile_k)),
      tile_count_(static_cast<int32_t>((key_count + tile_k - 1) / tile_k)),
      is_stored_(ranks.empty()) {
  if (is_stored_) return;
  std::vector<int32_t> tile_of_rank(key_count_);
  for (int32_t place = 0; place < key_count_; ++place) tile_of_rank[ranks[place]] = place / tile_k_;
  for (int32_t rank = 0; rank < key_count_; ++rank) {
    if (!run_tiles_.empty() && run_tiles_.back() == tile_of_rank[rank]) continue;
    run_begins_.push_back(rank);
    run_tiles_.push_back(tile_of_rank[rank]);
  }
  run_begins_.push_back(key_count_);
  tile_ranks_.assign(ranks.begin(), ranks.end());
  for (int32_t tile = 0; tile < tile_count_; ++tile) {
    const auto begin = tile_ranks_.begin() + int64_t{tile} * tile_k_;
    std::sort(begin, begin + tile_size(tile));
  }
  touched_counts_.resize(tile_count_);
  sure_counts_.resize(tile_count_);
}

int32_t KeyTiles::tile_size(int32_t tile) const {
  return std::min(tile_k_, key_count_ - tile * tile_k_);
}

void KeyTiles::classify(std::span<const RankRange> touched, std::span<const RankRange> sure,
                        std::vector<TileRange>& out) {
  out.clear();
  if (is_stored_) return classify_stored(touched, sure, out);

  // A rank order that jumps from tile to tile has many runs, and then asking each tile is cheaper.
  constexpr int64_t kStepsOfASearch = 8;
  const auto ranges = static_cast<int64_t>(touched.size() + sure.size());
  const int64_t run_count = runs_within(touched) + runs_within(sure);
  seen_tiles_.clear();
  if (run_count <= tile_count_ * ranges * kStepsOfASearch) {
    count_by_runs(touched, touched_counts_);
    count_by_runs(sure, sure_counts_);
    std::sort(seen_tiles_.begin(), seen_tiles_.end());
    seen_tiles_.erase(std::unique(seen_tiles_.begin(), seen_tiles_.end()), seen_tiles_.end());
  } else {
    count_by_tiles(touched, touched_counts_);
    count_by_tiles(sure, sure_counts_);
    for (int32_t tile = 0; tile < tile_count_; ++tile) seen_tiles_.push_back(tile);
  }
  for (const int32_t tile : seen_tiles_) {
    if (touched_counts_[tile] > 0) {
      append_tiles(tile, tile + 1, sure_counts_[tile] == tile_size(tile), out);
    }
    touched_counts_[tile] = sure_counts_[tile] = 0;
  }
}

void KeyTiles::classify_stored(std::span<const RankRange> touched, std::span<const RankRange> sure,
                               std::vector<TileRange>& out) const {
  size_t next_sure = 0;
  int32_t done = 0;
  for (const RankRange& range : touched) {
    // The first tile may be the last one of the range before.
    int32_t tile = std::max(done, range.begin / tile_k_);
    const int32_t end = (range.end - 1) / tile_k_ + 1;
    while (next_sure < sure.size() && sure[next_sure].begin < range.end) {
      const RankRange& inner = sure[next_sure++];
      const int32_t full_begin = (inner.begin + tile_k_ - 1) / tile_k_;
      const int32_t full_end = inner.end == key_count_ ? tile_count_ : inner.end / tile_k_;
      if (full_begin >= full_end) continue;
      append_tiles(tile, full_begin, false, out);
      append_tiles(full_begin, full_end, true, out);
      tile = full_end;
    }
    append_tiles(tile, end, false, out);
    done = std::max(done, end);
  }
}

int64_t KeyTiles::runs_within(std::span<const RankRange> ranges) const {
  int64_t count = 0;
  auto from = run_begins_.begin();
  for (const RankRange& range : ranges) {
    from = std::upper_bound(from, run_begins_.end(), range.begin) - 1;
    const auto to = std::lower_bound(from, run_begins_.end(), range.end);
    count += to - from;
  }
  return count;
}

void KeyTiles::count_by_runs(std::span<const RankRange> ranges, std::vector<int32_t>& counts) {
  for (const RankRange& range : ranges) {
    auto run = std::upper_bound(run_begins_.begin(), run_begins_.end(), range.begin) -
               run_begins_.begin() - 1;
    for (; run < static_cast<int64_t>(run_tiles_.size()) && run_begins_[run] < range.end; ++run) {
      const int32_t tile = run_tiles_[run];
      if (counts[tile] == 0) seen_tiles_.push_back(tile);
      counts[tile] +=
          std::min(range.end, run_begins_[run + 1]) - std::max(range.begin, run_begins_[run]);
    }
  }
}

void KeyTiles::count_by_tiles(std::span<const RankRange> ranges, std::vector<int32_t>& counts) {
  for (int32_t tile = 0; tile < tile_count_; ++tile) {
    const auto begin = tile_ranks_.begin() + int64_t{tile} * tile_k_;
    const auto end = begin + tile_size(tile);
    for (const RankRange& range : ranges) {
      counts[tile] += static_cast<int32_t>(std::lower_bound(begin, end, range.end) -
                                           std::lower_bound(begin, end, range.begin));
    }
  }
}

}  // namespace coeus
