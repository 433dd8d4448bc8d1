#include "coeus/mask/block_mask.h"

#include <algorithm>
#include <set>
#include <utility>

#include "coeus/base/error.h"

namespace coeus {
namespace {

/// Calls visit(q, k) for every visible pair of a full or partial tile.
template <typename Visit>
void for_each_visible(const BlockMaskRow& row, Visit visit) {
  const int64_t words = row.words_per_row();
  for (int64_t tile = 0; tile < row.query_tiles(); ++tile) {
    const int64_t first = tile * row.tile_q;
    const int64_t last = std::min(first + row.tile_q, row.query_length);
    const TileLists& lists = row.by_query;
    for (int64_t j = lists.full_offsets[tile]; j < lists.full_offsets[tile + 1]; ++j) {
      const int64_t key_begin = lists.full_ranges[2 * j] * row.tile_k;
      const int64_t key_end = std::min(lists.full_ranges[2 * j + 1] * row.tile_k, row.key_length);
      for (int64_t q = first; q < last; ++q) {
        for (int64_t k = key_begin; k < key_end; ++k) visit(q, k);
      }
    }
    for (int64_t j = lists.partial_offsets[tile]; j < lists.partial_offsets[tile + 1]; ++j) {
      const int64_t key_begin = lists.partial_tiles[j] * row.tile_k;
      const int64_t key_end = std::min(key_begin + row.tile_k, row.key_length);
      for (int64_t q = first; q < last; ++q) {
        for (int64_t k = key_begin; k < key_end; ++k) {
          const int64_t bit = k - key_begin;
          const bool sees =
              row.interval_count > 0
                  ? row.intervals_hold(q, k)
                  : (row.bits[(j * row.tile_q + q - first) * words + bit / 64] >> (bit % 64)) & 1;
          if (sees) visit(q, k);
        }
      }
    }
  }
}

template <typename T>
int64_t bytes_of(const std::vector<T>& values) {
  return static_cast<int64_t>(values.size() * sizeof(T));
}

int64_t bytes_of(const TileLists& lists) {
  return bytes_of(lists.full_offsets) + bytes_of(lists.full_ranges) +
         bytes_of(lists.partial_offsets) + bytes_of(lists.partial_tiles);
}

}  // namespace

int64_t BlockMaskRow::bytes() const {
  return bytes_of(by_query) + bytes_of(by_key) + bytes_of(by_key_entries) +
         bytes_of(interval_begin) + bytes_of(interval_end) + bytes_of(key_ranks) + bytes_of(bits);
}

bool BlockMaskRow::intervals_hold(int64_t q, int64_t k) const {
  const auto rank = key_ranks.empty() ? static_cast<int32_t>(k) : key_ranks[k];
  for (int64_t at = q; at < interval_count * query_length; at += query_length) {
    if (interval_begin[at] <= rank && rank < interval_end[at]) return true;
  }
  return false;
}

BlockMask::BlockMask(std::vector<std::shared_ptr<const BlockMaskRow>> rows)
    : rows_(std::move(rows)) {
  for (size_t i = 0; i < rows_.size(); ++i) {
    COEUS_CHECK(rows_[i] != nullptr, "[BlockMask] row {} is missing (null)", i);
    const BlockMaskRow& row = *rows_[i];
    const BlockMaskRow& first = *rows_[0];
    COEUS_CHECK(row.query_length == first.query_length && row.key_length == first.key_length &&
                    row.tile_q == first.tile_q && row.tile_k == first.tile_k,
                "[BlockMask] row {} is {} x {} in tiles of {} x {}, but row 0 is {} x {} in tiles "
                "of {} x {}; lower all rows of a batch alike",
                i, row.query_length, row.key_length, row.tile_q, row.tile_k, first.query_length,
                first.key_length, first.tile_q, first.tile_k);
  }
}

const std::shared_ptr<const BlockMaskRow>& BlockMask::shared_row(int64_t row) const {
  COEUS_CHECK(row >= 0 && row < batch_size(), "[BlockMask] row {} is not one of {} rows", row,
              batch_size());
  return rows_[row];
}

int64_t BlockMask::area() const {
  int64_t area = 0;
  for (const auto& row : rows_) area += row->area;
  return area;
}

std::vector<int64_t> BlockMask::query_areas(int64_t number) const {
  const BlockMaskRow& row = this->row(number);
  std::vector<int64_t> areas(row.query_length);
  if (row.interval_count > 0) {
    for (int64_t slot = 0; slot < row.interval_count; ++slot) {
      const int32_t* const begin = row.interval_begin.data() + slot * row.query_length;
      const int32_t* const end = row.interval_end.data() + slot * row.query_length;
      for (int64_t q = 0; q < row.query_length; ++q) areas[q] += end[q] - begin[q];
    }
    return areas;
  }
  for_each_visible(row, [&](int64_t q, int64_t) { ++areas[q]; });
  return areas;
}

double BlockMask::sparsity() const {
  const double pairs = static_cast<double>(batch_size()) * static_cast<double>(query_length()) *
                       static_cast<double>(key_length());
  return pairs == 0 ? 0 : 1 - static_cast<double>(area()) / pairs;
}

TileCounts BlockMask::tile_counts(int64_t number) const {
  const BlockMaskRow& row = this->row(number);
  TileCounts counts{row.full_tile_count, row.partial_tile_count(), 0};
  counts.empty = row.query_tiles() * row.key_tiles() - counts.full - counts.partial;
  return counts;
}

TileCounts BlockMask::tile_counts() const {
  TileCounts sum;
  for (int64_t i = 0; i < batch_size(); ++i) {
    const TileCounts counts = tile_counts(i);
    sum.full += counts.full;
    sum.partial += counts.partial;
    sum.empty += counts.empty;
  }
  return sum;
}

int64_t BlockMask::bytes() const {
  std::set<const BlockMaskRow*> counted;
  int64_t bytes = 0;
  for (const auto& row : rows_) {
    if (counted.insert(row.get()).second) bytes += row->bytes();
  }
  return bytes;
}

bool BlockMask::sees(int64_t number, int64_t q, int64_t k) const {
  const BlockMaskRow& row = this->row(number);
  COEUS_CHECK(q >= 0 && q < row.query_length && k >= 0 && k < row.key_length,
              "[BlockMask::sees] query {} and key {} are not of {} queries and {} keys", q, k,
              row.query_length, row.key_length);
  if (row.interval_count > 0) return row.intervals_hold(q, k);
  const int64_t tile = q / row.tile_q;
  const auto key_tile = static_cast<int32_t>(k / row.tile_k);
  const TileLists& lists = row.by_query;
  for (size_t j = lists.full_offsets[tile]; j < size_t(lists.full_offsets[tile + 1]); ++j) {
    if (lists.full_ranges[2 * j] <= key_tile && key_tile < lists.full_ranges[2 * j + 1])
      return true;
  }
  const auto begin = lists.partial_tiles.begin() + lists.partial_offsets[tile];
  const auto end = lists.partial_tiles.begin() + lists.partial_offsets[tile + 1];
  const auto found = std::lower_bound(begin, end, key_tile);
  if (found == end || *found != key_tile) return false;
  const int64_t entry = found - lists.partial_tiles.begin();
  const int64_t bit = k % row.tile_k;
  return (row.bits[(entry * row.tile_q + q % row.tile_q) * row.words_per_row() + bit / 64] >>
          (bit % 64)) &
         1;
}

std::vector<uint8_t> BlockMask::to_dense(int64_t number) const {
  const BlockMaskRow& row = this->row(number);
  std::vector<uint8_t> dense(row.query_length * row.key_length);
  for_each_visible(row, [&](int64_t q, int64_t k) { dense[q * row.key_length + k] = 1; });
  return dense;
}

BlockMask BlockMask::slice_rows(int64_t begin, int64_t end) const {
  COEUS_CHECK(0 <= begin && begin <= end && end <= batch_size(),
              "[BlockMask::slice_rows] [{}, {}) is not a range of {} rows", begin, end,
              batch_size());
  BlockMask slice;
  slice.rows_.assign(rows_.begin() + begin, rows_.begin() + end);
  if (is_sharded()) slice.shards_.assign(shards_.begin() + begin, shards_.begin() + end);
  return slice;
}

const std::shared_ptr<const ContextShard>& BlockMask::shard(int64_t row) const {
  COEUS_CHECK(is_sharded(), "[BlockMask::shard] this mask's keys are not spread over ranks");
  COEUS_CHECK(row >= 0 && row < batch_size(), "[BlockMask::shard] row {} is not one of {} rows",
              row, batch_size());
  return shards_[row];
}

BlockMask BlockMask::with_shards(std::vector<std::shared_ptr<const ContextShard>> shards) const {
  COEUS_CHECK(shards.size() == rows_.size(),
              "[BlockMask::with_shards] {} shards for {} rows; give one a row", shards.size(),
              rows_.size());
  BlockMask sharded = *this;
  sharded.shards_ = std::move(shards);
  return sharded;
}

BlockMask BlockMask::concatenate(std::span<const BlockMask> parts) {
  std::vector<std::shared_ptr<const BlockMaskRow>> rows;
  std::vector<std::shared_ptr<const ContextShard>> shards;
  for (const BlockMask& part : parts) {
    rows.insert(rows.end(), part.rows_.begin(), part.rows_.end());
    shards.insert(shards.end(), part.shards_.begin(), part.shards_.end());
  }
  COEUS_CHECK(shards.empty() || shards.size() == rows.size(),
              "[BlockMask::concatenate] {} of {} rows are spread over ranks; shard all or none",
              shards.size(), rows.size());
  BlockMask whole(std::move(rows));
  whole.shards_ = std::move(shards);
  return whole;
}

std::optional<std::vector<Segment>> BlockMask::segments(int64_t number,
                                                        int64_t max_segments) const {
  const BlockMaskRow& row = this->row(number);
  if (row.query_length == 0) return std::vector<Segment>{};
  if (row.interval_count != 1 || !row.key_ranks.empty()) return std::nullopt;
  const auto limit = static_cast<size_t>(
      max_segments > 0 ? max_segments : std::max<int64_t>(64, row.query_length / 16));
  std::vector<Segment> found;
  for (int64_t q = 0; q < row.query_length; ++q) {
    const int64_t begin = row.interval_begin[q];
    const int64_t end = row.interval_end[q];
    if (!found.empty()) {
      Segment& last = found.back();
      const int64_t length = last.query_end - last.query_begin;
      const bool is_same = begin == last.key_begin && end == last.key_end;
      const bool is_next = begin == last.key_begin && end == last.key_end + 1 &&
                           last.key_end - last.key_begin == length;
      // One query that sees one key may start either kind of run.
      if (is_same && (!last.causal || length == 1)) {
        last.causal = false;
        ++last.query_end;
        continue;
      }
      if (is_next && (last.causal || length == 1)) {
        last.causal = true;
        ++last.query_end;
        ++last.key_end;
        continue;
      }
    }
    if (found.size() == limit) return std::nullopt;
    found.push_back({q, q + 1, begin, end, false});
  }
  return found;
}

}  // namespace coeus
