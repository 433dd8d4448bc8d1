#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/block_mask.h"
#include "coeus/mask/key_tiles.h"
#include "coeus/mask/rank_sets.h"
#include "coeus/mask/row_builder.h"

namespace coeus {
namespace {

using RowPointer = std::shared_ptr<const BlockMaskRow>;

RowPointer slice_intervals(const BlockMaskRow& row, int64_t begin, int64_t end) {
  RowBuilder builder(end - begin, row.key_length, row.tile_q, row.tile_k);
  KeyTiles key_tiles(row.key_ranks, row.key_length, row.tile_k);
  RankSets sets;
  const auto sets_of = [&](int64_t tile_begin, int64_t tile_end) -> const RankSets* {
    sets.resize(tile_end - tile_begin, static_cast<int>(row.interval_count));
    for (int slot = 0; slot < sets.slots(); ++slot) {
      const int64_t at = slot * row.query_length + begin + tile_begin;
      std::copy_n(row.interval_begin.data() + at, sets.queries(), sets.begin(slot));
      std::copy_n(row.interval_end.data() + at, sets.queries(), sets.end(slot));
    }
    return &sets;
  };
  build_from_sets(key_tiles, sets_of, builder);
  return builder.finish(row.key_ranks);
}

/// Writes what query q sees of each tile it touches into the tile's elements, [tile_q, keys].
void add_query(const BlockMaskRow& row, int64_t q, int64_t line,
               std::map<int32_t, std::vector<uint8_t>>& tiles, int64_t lines) {
  const int64_t tile = q / row.tile_q;
  const TileLists& lists = row.by_query;
  const auto keys_of = [&](int32_t key_tile) {
    return std::min(row.tile_k, row.key_length - key_tile * row.tile_k);
  };
  const auto line_of = [&](int32_t key_tile) {
    auto& elements = tiles[key_tile];
    elements.resize(lines * keys_of(key_tile));
    return elements.data() + line * keys_of(key_tile);
  };
  for (size_t j = lists.full_offsets[tile]; j < size_t(lists.full_offsets[tile + 1]); ++j) {
    for (int32_t k = lists.full_ranges[2 * j]; k < lists.full_ranges[2 * j + 1]; ++k) {
      std::fill_n(line_of(k), keys_of(k), 1);
    }
  }
  for (int64_t j = lists.partial_offsets[tile]; j < lists.partial_offsets[tile + 1]; ++j) {
    const int32_t key_tile = lists.partial_tiles[j];
    const uint64_t* const words =
        row.bits.data() + (j * row.tile_q + q % row.tile_q) * row.words_per_row();
    uint8_t* const out = line_of(key_tile);
    for (int64_t k = 0; k < keys_of(key_tile); ++k) out[k] = (words[k / 64] >> (k % 64)) & 1;
  }
}

RowPointer slice_bits(const BlockMaskRow& row, int64_t begin, int64_t end) {
  RowBuilder builder(end - begin, row.key_length, row.tile_q, row.tile_k);
  while (!builder.is_complete()) {
    std::map<int32_t, std::vector<uint8_t>> tiles;
    const int64_t lines = builder.query_end() - builder.query_begin();
    for (int64_t line = 0; line < lines; ++line) {
      add_query(row, begin + builder.query_begin() + line, line, tiles, lines);
    }
    for (const auto& [tile, elements] : tiles) builder.add_elements(tile, elements);
    builder.end_query_tile();
  }
  return builder.finish({});
}

}  // namespace

BlockMask BlockMask::slice_queries(int64_t begin, int64_t end) const {
  COEUS_CHECK(0 <= begin && begin <= end && end <= query_length(),
              "[BlockMask::slice_queries] [{}, {}) is not a range of {} queries", begin, end,
              query_length());
  COEUS_CHECK(
      !is_sharded(),
      "[BlockMask::slice_queries] the queries of a mask that is spread over ranks cannot be "
      "cut further; plan the rows for other ranks instead");
  std::map<const BlockMaskRow*, RowPointer> sliced;
  std::vector<RowPointer> rows;
  for (const RowPointer& row : rows_) {
    RowPointer& slice = sliced[row.get()];
    if (slice == nullptr) {
      slice = row->interval_count > 0 ? slice_intervals(*row, begin, end)
                                      : slice_bits(*row, begin, end);
    }
    rows.push_back(slice);
  }
  return BlockMask(std::move(rows));
}

}  // namespace coeus
