#include "coeus/mask/row_builder.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "coeus/base/error.h"

namespace coeus {
namespace {

int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Up to 64 bytes of 0 or 1 as bits, the first one lowest.
uint64_t pack(const uint8_t* bytes, int64_t count) {
  uint64_t word = 0;
  int64_t j = 0;
  if constexpr (std::endian::native == std::endian::little) {
    for (; j + 8 <= count; j += 8) {
      uint64_t eight;
      std::memcpy(&eight, bytes + j, 8);
      // The product's highest byte gathers the lowest bit of each of the eight.
      word |= (eight * 0x0102040810204080u >> 56) << j;
    }
  }
  for (; j < count; ++j) word |= uint64_t{bytes[j]} << j;
  return word;
}

/// 8 GiB: more is a mask that hides little and has no shape, which attention could not use either.
constexpr size_t kMostWords = size_t{1} << 30;

void check_entry_count(size_t count) {
  COEUS_CHECK(count <= static_cast<size_t>(std::numeric_limits<int32_t>::max()),
              "[lower] the mask needs more than {} tiles of one row; take larger tiles",
              std::numeric_limits<int32_t>::max());
}

}  // namespace

RowBuilder::RowBuilder(int64_t query_length, int64_t key_length, int64_t tile_q, int64_t tile_k)
    : row_(std::make_shared<BlockMaskRow>()) {
  row_->query_length = query_length;
  row_->key_length = key_length;
  row_->tile_q = tile_q;
  row_->tile_k = tile_k;
  row_->by_query.full_offsets.reserve(row_->query_tiles() + 1);
  row_->by_query.partial_offsets.reserve(row_->query_tiles() + 1);
  row_->by_query.full_offsets.push_back(0);
  row_->by_query.partial_offsets.push_back(0);
}

void RowBuilder::add_full(int32_t begin, int32_t end) {
  auto& ranges = row_->by_query.full_ranges;
  const bool continues =
      static_cast<int64_t>(ranges.size()) > full_ranges_before_ && ranges.back() == begin;
  if (continues) {
    ranges.back() = end;
  } else {
    ranges.push_back(begin);
    ranges.push_back(end);
  }
  row_->full_tile_count += end - begin;
  const int64_t keys = std::min(end * row_->tile_k, row_->key_length) - begin * row_->tile_k;
  visible_ += (query_end() - query_begin()) * keys;
}

void RowBuilder::add_partial(int32_t tile) { row_->by_query.partial_tiles.push_back(tile); }

void RowBuilder::add_elements(int32_t tile, std::span<const uint8_t> elements) {
  const int64_t words = row_->words_per_row();
  const int64_t keys = std::min(row_->tile_k, row_->key_length - tile * row_->tile_k);
  const size_t first = row_->bits.size();
  COEUS_CHECK(first < kMostWords,
              "[lower] the mask needs more than 8 GiB of bits for a row of {} queries and {} keys: "
              "it hides something in too many tiles; narrow it with a window or documents",
              row_->query_length, row_->key_length);
  row_->bits.resize(first + row_->tile_q * words);
  int64_t visible = 0;
  uint64_t* word = row_->bits.data() + first;
  for (const uint8_t* line = elements.data(); line != elements.data() + elements.size();
       line += keys) {
    for (int64_t j = 0; j < keys; j += 64, ++word) {
      *word = pack(line + j, std::min<int64_t>(keys - j, 64));
      visible += std::popcount(*word);
    }
    word += words - (keys + 63) / 64;
  }
  if (visible > 0 && visible < static_cast<int64_t>(elements.size())) {
    add_partial(tile);
    visible_ += visible;
    return;
  }
  row_->bits.resize(first);
  if (visible > 0) add_full(tile, tile + 1);
}

void RowBuilder::add_intervals(const RankSets& sets) {
  const auto slots = static_cast<size_t>(sets.slots());
  const int64_t so_far = query_begin();
  while (begins_.size() < slots) {
    begins_.emplace_back().reserve(row_->query_length);
    ends_.emplace_back().reserve(row_->query_length);
    begins_.back().resize(so_far);
    ends_.back().resize(so_far);
  }
  for (size_t slot = 0; slot < begins_.size(); ++slot) {
    if (slot < slots) {
      const auto s = static_cast<int>(slot);
      begins_[slot].insert(begins_[slot].end(), sets.begin(s), sets.begin(s) + sets.queries());
      ends_[slot].insert(ends_[slot].end(), sets.end(s), sets.end(s) + sets.queries());
    } else {
      begins_[slot].resize(so_far + sets.queries());
      ends_[slot].resize(so_far + sets.queries());
    }
  }
  area_of_intervals_ += sets.area();
}

void RowBuilder::end_query_tile() {
  TileLists& lists = row_->by_query;
  check_entry_count(lists.partial_tiles.size());
  check_entry_count(lists.full_ranges.size());
  full_ranges_before_ = static_cast<int64_t>(lists.full_ranges.size());
  lists.full_offsets.push_back(static_cast<int32_t>(full_ranges_before_ / 2));
  lists.partial_offsets.push_back(static_cast<int32_t>(lists.partial_tiles.size()));
  ++query_tile_;
}

std::shared_ptr<const BlockMaskRow> RowBuilder::finish(std::vector<int32_t> key_ranks) {
  COEUS_ASSERT(is_complete());
  row_->interval_count = static_cast<int64_t>(begins_.size());
  row_->area = row_->interval_count > 0 ? area_of_intervals_ : visible_;
  if (begins_.size() == 1) {
    row_->interval_begin = std::move(begins_[0]);
    row_->interval_end = std::move(ends_[0]);
  } else {
    for (size_t slot = 0; slot < begins_.size(); ++slot) {
      row_->interval_begin.insert(row_->interval_begin.end(), begins_[slot].begin(),
                                  begins_[slot].end());
      row_->interval_end.insert(row_->interval_end.end(), ends_[slot].begin(), ends_[slot].end());
    }
  }
  row_->key_ranks = std::move(key_ranks);
  row_->by_key =
      transpose(row_->by_query, ceiling(row_->key_length, row_->tile_k), row_->by_key_entries);
  row_->by_query.full_ranges.shrink_to_fit();
  row_->by_query.partial_tiles.shrink_to_fit();
  row_->bits.shrink_to_fit();
  return std::move(row_);
}

}  // namespace coeus
