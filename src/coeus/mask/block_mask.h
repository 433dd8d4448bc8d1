// A mask lowered to tiles: what attention engines read.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace coeus {

/// Per tile of one side, the tiles of the other side that attention has to visit. `full` tiles hide
/// nothing and stand as ranges, so that a causal mask over n x n tiles takes O(n) memory; `partial`
/// tiles hide something and stand one by one. All ascending and disjoint.
struct TileLists {
  /// Ranges of tile i are full_ranges[2 * j], full_ranges[2 * j + 1] (begin, end) for j in
  /// [full_offsets[i], full_offsets[i + 1]).
  std::vector<int32_t> full_offsets;
  std::vector<int32_t> full_ranges;
  /// Partial tiles of tile i are partial_tiles[j] for j in [partial_offsets[i],
  /// partial_offsets[i + 1]).
  std::vector<int32_t> partial_offsets;
  std::vector<int32_t> partial_tiles;
};

/// A mask lowered for one row of a batch. Plain arrays, each one allocation, so that an engine on a
/// device uploads them as they are. Made by `lower`; treated as immutable.
struct BlockMaskRow {
  int64_t query_length = 0;
  int64_t key_length = 0;
  int64_t tile_q = 0;
  int64_t tile_k = 0;
  /// Visible pairs of query and key, exactly.
  int64_t area = 0;
  /// Tiles that are full; partial ones are by_query.partial_tiles.size().
  int64_t full_tile_count = 0;

  /// Per query tile its key tiles, and per key tile its query tiles (for dK and dV).
  TileLists by_query;
  TileLists by_key;
  /// For each entry of by_key.partial_tiles its entry in by_query.partial_tiles, which is the
  /// number of its bits.
  std::vector<int32_t> by_key_entries;

  /// What is visible in partial tiles, in one of two forms. With interval_count m > 0, query q sees
  /// key k exactly when interval_begin[s * query_length + q] <= r(k) <
  /// interval_end[s * query_length + q] for a slot s < m, in full tiles too. Slots of a query are
  /// disjoint, ascending and apart, empty ones (begin == end) last.
  int64_t interval_count = 0;
  std::vector<int32_t> interval_begin;
  std::vector<int32_t> interval_end;
  /// r(k), the place of key k in the order of the keys' indices; empty when the keys are stored in
  /// that order, so that r(k) = k.
  std::vector<int32_t> key_ranks;

  /// With interval_count 0, bit j % 64 of word (entry * tile_q + i) * words_per_row() + j / 64 says
  /// whether query i of the tile sees key j of the tile. Bits past the row's ends are 0.
  std::vector<uint64_t> bits;

  int64_t query_tiles() const { return (query_length + tile_q - 1) / tile_q; }
  int64_t key_tiles() const { return (key_length + tile_k - 1) / tile_k; }
  int64_t words_per_row() const { return (tile_k + 63) / 64; }
  int64_t partial_tile_count() const { return static_cast<int64_t>(by_query.partial_tiles.size()); }
  int64_t bytes() const;
  /// Whether the intervals (interval_count > 0) of query q hold key k.
  bool intervals_hold(int64_t q, int64_t k) const;
};

struct TileCounts {
  int64_t full = 0;
  int64_t partial = 0;
  int64_t empty = 0;
};

/// Queries [query_begin, query_end) that all see keys [key_begin, key_end) and nothing else; when
/// `causal`, query query_begin + i sees keys key_begin to key_begin + i, and both runs are equally
/// long. An empty run of keys: the queries see nothing.
struct Segment {
  int64_t query_begin = 0;
  int64_t query_end = 0;
  int64_t key_begin = 0;
  int64_t key_end = 0;
  bool causal = false;
  bool operator==(const Segment&) const = default;
};

struct ContextShard;

/// The lowered mask of a batch of rows, all of one size. A value; rows are shared, never copied.
class BlockMask {
 public:
  BlockMask() = default;
  /// Throws Error unless all rows agree in lengths and tile sizes.
  explicit BlockMask(std::vector<std::shared_ptr<const BlockMaskRow>> rows);

  int64_t batch_size() const { return static_cast<int64_t>(rows_.size()); }
  int64_t query_length() const { return rows_.empty() ? 0 : rows_[0]->query_length; }
  int64_t key_length() const { return rows_.empty() ? 0 : rows_[0]->key_length; }
  int64_t tile_q() const { return rows_.empty() ? 0 : rows_[0]->tile_q; }
  int64_t tile_k() const { return rows_.empty() ? 0 : rows_[0]->tile_k; }

  const BlockMaskRow& row(int64_t row) const { return *shared_row(row); }
  /// Rows of one pointer are one lowered row: work done once for it serves all of them.
  const std::shared_ptr<const BlockMaskRow>& shared_row(int64_t row) const;

  /// Whether the rows' keys are spread over ranks (context parallelism): the rows then are this
  /// rank's queries over all keys, and attention must go through what its layers were given for it
  /// (parallel/context/).
  bool is_sharded() const { return !shards_.empty(); }
  /// Of a row of a mask that is_sharded().
  const std::shared_ptr<const ContextShard>& shard(int64_t row) const;
  /// This mask with a shard for each row. Throws Error unless there are as many as rows.
  BlockMask with_shards(std::vector<std::shared_ptr<const ContextShard>> shards) const;

  /// Visible pairs of query and key of one row, and of all rows.
  int64_t area(int64_t row) const { return this->row(row).area; }
  int64_t area() const;
  /// Visible keys of each query of a row, [query_length].
  std::vector<int64_t> query_areas(int64_t number) const;
  /// The share of all pairs of query and key that is hidden, in [0, 1].
  double sparsity() const;
  TileCounts tile_counts(int64_t number) const;
  TileCounts tile_counts() const;
  /// Memory that the rows hold; a shared row counts once.
  int64_t bytes() const;
  /// Whether query q sees key k, both counted as stored.
  bool sees(int64_t number, int64_t q, int64_t k) const;
  /// One byte a pair, [query_length, key_length], 1 where the query sees the key.
  std::vector<uint8_t> to_dense(int64_t number) const;

  /// Rows [begin, end) of the batch: a micro-batch.
  BlockMask slice_rows(int64_t begin, int64_t end) const;
  /// Queries [begin, end) of every row; any bounds, tiles are cut anew where they must be. Throws
  /// Error for a sharded mask, whose queries the ranks have agreed on.
  BlockMask slice_queries(int64_t begin, int64_t end) const;
  /// The rows of all parts, one part after another. Throws Error when sizes differ, or only some
  /// are sharded.
  static BlockMask concatenate(std::span<const BlockMask> parts);

  /// The row as a list of dense attentions, in O(query_length), where it is one: keys stored in the
  /// order of their indices, and each query sees one run of keys. The segments cover all queries in
  /// order. Nothing when there would be more than `max_segments` (0: one for 16 queries, but at
  /// least 64), as under a sliding window, where each query is a segment of its own.
  std::optional<std::vector<Segment>> segments(int64_t number, int64_t max_segments = 0) const;

 private:
  std::vector<std::shared_ptr<const BlockMaskRow>> rows_;
  std::vector<std::shared_ptr<const ContextShard>> shards_;  ///< empty, or one a row
};

/// A model's masks by name.
using AttentionMasks = std::map<std::string, BlockMask>;

}  // namespace coeus
