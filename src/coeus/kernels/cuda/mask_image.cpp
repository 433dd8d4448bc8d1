#include "coeus/kernels/cuda/mask_image.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "coeus/base/error.h"

namespace coeus::cuda {
namespace {

/// Where arrays begin: what copies of 128 bits and by the copy engine ask for.
constexpr int64_t kAlignment = 256;
constexpr int64_t kTileBitsBytes = kMaskTileWords * int64_t{sizeof(uint32_t)};

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

/// DeviceTileLists as it grows, but for its bits.
struct HostLists {
  int tiles = 0;
  std::vector<int2> work;
  std::vector<int32_t> partial_offsets{0};
  std::vector<int2> partial;
  std::vector<int32_t> full_offsets{0};
  std::vector<int2> full;
  std::vector<int32_t> partial_turns;
  std::vector<int32_t> full_turn_offsets;
  std::vector<int32_t> full_turns;

  void end_tile() {
    // The offsets are 32 bits, and so are the numbers of blocks that expand the tiles.
    COEUS_CHECK(std::max(partial.size(), full.size()) <=
                    static_cast<size_t>(std::numeric_limits<int32_t>::max()),
                "[MaskImage] the masks of a batch hide something in more than {} tiles; take fewer "
                "rows at a time",
                std::numeric_limits<int32_t>::max());
    partial_offsets.push_back(static_cast<int32_t>(partial.size()));
    full_offsets.push_back(static_cast<int32_t>(full.size()));
  }
};

/// The rows of a batch that differ, and for each row of the batch which of them it is.
struct DistinctRows {
  std::vector<const BlockMaskRow*> rows;
  std::vector<int32_t> number;  ///< [batch]

  explicit DistinctRows(const BlockMask& mask) {
    std::map<const BlockMaskRow*, int32_t> known;
    for (int64_t b = 0; b < mask.batch_size(); ++b) {
      const BlockMaskRow* const row = &mask.row(b);
      const auto [found, is_new] = known.emplace(row, static_cast<int32_t>(rows.size()));
      if (is_new) rows.push_back(row);
      number.push_back(found->second);
    }
  }
};

/// Adds the ranges of tile `tile` that lie before tile `last`, cutting one that reaches over it;
/// says whether one does.
bool add_full_ranges(const TileLists& lists, int64_t tile, int32_t last, HostLists& out) {
  bool reaches_last = false;
  for (int64_t j = lists.full_offsets[tile]; j < lists.full_offsets[tile + 1]; ++j) {
    const int32_t begin = lists.full_ranges[2 * j];
    const int32_t end = lists.full_ranges[2 * j + 1];
    reaches_last |= end > last;
    if (begin < last) out.full.push_back({begin, std::min(end, last)});
  }
  return reaches_last;
}

/// Adds the lists of one row in both directions, and the sources of its partial tiles.
void add_row(const BlockMaskRow& row, int32_t number, HostLists& by_query, HostLists& by_key,
             std::vector<MaskTileSource>& sources) {
  const auto key_tiles = static_cast<int32_t>(row.key_tiles());
  // Tiles from this one on reach over the end of the keys.
  const auto first_ragged = static_cast<int32_t>(row.key_length / kMaskTile);
  const size_t first_source = sources.size();
  std::vector<int32_t> entries(key_tiles + 1, 0);
  for (int32_t tile = 0; tile < row.query_tiles(); ++tile) {
    const auto add_partial = [&](int32_t key_tile, int32_t packed_entry) {
      by_query.partial.push_back({key_tile, static_cast<int32_t>(by_query.partial.size())});
      sources.push_back({number, tile, key_tile, 0, packed_entry});
      ++entries[key_tile + 1];
    };
    const TileLists& lists = row.by_query;
    for (int32_t e = lists.partial_offsets[tile]; e < lists.partial_offsets[tile + 1]; ++e)
      add_partial(lists.partial_tiles[e], row.interval_count > 0 ? -1 : e);
    if (add_full_ranges(lists, tile, first_ragged, by_query)) add_partial(first_ragged, -1);
    by_query.end_tile();
  }

  const size_t first_entry = by_key.partial.size();
  by_key.partial.resize(first_entry + sources.size() - first_source);
  entries[0] = static_cast<int32_t>(first_entry);
  for (int32_t tile = 0; tile < key_tiles; ++tile) {
    entries[tile + 1] += entries[tile];
    if (tile < first_ragged)
      add_full_ranges(row.by_key, tile, std::numeric_limits<int32_t>::max(), by_key);
    by_key.partial_offsets.push_back(entries[tile + 1]);
    by_key.full_offsets.push_back(static_cast<int32_t>(by_key.full.size()));
  }
  for (size_t i = first_source; i < sources.size(); ++i) {
    const int32_t entry = entries[sources[i].key_tile]++;
    sources[i].by_key_entry = entry;
    by_key.partial[entry] = {sources[i].query_tile, entry};
  }
}

/// All tiles of all rows of the batch, those that visit most first, else in order.
std::vector<int2> work_of(const HostLists& lists, const std::vector<int32_t>& distinct_row) {
  std::vector<uint32_t> visits(lists.partial_offsets.size() - 1);
  for (size_t t = 0; t < visits.size(); ++t) {
    visits[t] = static_cast<uint32_t>(lists.partial_offsets[t + 1] - lists.partial_offsets[t]);
    for (int32_t j = lists.full_offsets[t]; j < lists.full_offsets[t + 1]; ++j)
      visits[t] += static_cast<uint32_t>(lists.full[j].y - lists.full[j].x);
  }
  const size_t tiles = static_cast<size_t>(lists.tiles);
  std::vector<uint64_t> order(distinct_row.size() * tiles);
  COEUS_CHECK(
      order.size() <= static_cast<size_t>(std::numeric_limits<int32_t>::max()),
      "[MaskImage] a batch of {} rows of {} tiles is more than {} tiles; take fewer rows at "
      "a time",
      distinct_row.size(), tiles, std::numeric_limits<int32_t>::max());
  for (size_t i = 0; i < order.size(); ++i) {
    const uint32_t visited = visits[distinct_row[i / tiles] * tiles + i % tiles];
    order[i] = uint64_t{~visited} << 32 | i;
  }
  std::sort(order.begin(), order.end());
  std::vector<int2> work;
  work.reserve(order.size());
  for (const uint64_t place : order) {
    const size_t i = place & std::numeric_limits<uint32_t>::max();
    work.push_back({static_cast<int>(i / tiles), static_cast<int>(i % tiles)});
  }
  return work;
}

/// Adds the visits' turns to lists by key whose work is there.
void add_turns(HostLists& lists, const std::vector<int32_t>& distinct_row, int64_t query_tiles) {
  lists.partial_turns.resize(lists.partial.size());
  int64_t visits = 0;
  for (const int2& range : lists.full) {
    lists.full_turn_offsets.push_back(static_cast<int32_t>(visits));
    visits += range.y - range.x;
    COEUS_CHECK(visits <= std::numeric_limits<int32_t>::max(),
                "[MaskImage] the masks of a batch have more than {} full tiles, too many for "
                "training.deterministic; take fewer rows at a time",
                std::numeric_limits<int32_t>::max());
  }
  lists.full_turns.resize(static_cast<size_t>(visits));
  // Rows of the batch that are the same have their tiles in the same order: one speaks for all.
  std::map<int32_t, int32_t> speaker;
  for (size_t row = 0; row < distinct_row.size(); ++row)
    speaker.emplace(distinct_row[row], static_cast<int32_t>(row));
  std::map<int32_t, std::vector<int32_t>> next_turn;
  for (const auto& [distinct, row] : speaker)
    next_turn[row].resize(static_cast<size_t>(query_tiles));
  for (const int2& work : lists.work) {
    const int32_t distinct = distinct_row[static_cast<size_t>(work.x)];
    if (speaker.at(distinct) != work.x) continue;
    std::vector<int32_t>& turns = next_turn.at(work.x);
    const int64_t list = int64_t{distinct} * lists.tiles + work.y;
    for (int32_t e = lists.partial_offsets[list]; e < lists.partial_offsets[list + 1]; ++e)
      lists.partial_turns[e] = turns[lists.partial[e].x]++;
    for (int32_t r = lists.full_offsets[list]; r < lists.full_offsets[list + 1]; ++r) {
      int32_t* const of_range = lists.full_turns.data() + lists.full_turn_offsets[r];
      for (int32_t tile = lists.full[r].x; tile < lists.full[r].y; ++tile)
        of_range[tile - lists.full[r].x] = turns[tile]++;
    }
  }
}

}  // namespace

/// Gives arrays their places and then copies them there, in one allocation.
class MaskImage::Packer {
 public:
  /// `values` must live until `pack`.
  template <class T>
  int64_t add(const std::vector<T>& values) {
    const auto size = static_cast<int64_t>(values.size() * sizeof(T));
    const int64_t place = bytes_;
    arrays_.push_back({values.data(), place, size});
    bytes_ = aligned(bytes_ + size);
    return place;
  }

  ListPlaces add(const HostLists& lists) {
    ListPlaces places;
    places.work = add(lists.work);
    places.partial_offsets = add(lists.partial_offsets);
    places.partial = add(lists.partial);
    places.full_offsets = add(lists.full_offsets);
    places.full = add(lists.full);
    places.partial_turns = add(lists.partial_turns);
    places.full_turn_offsets = add(lists.full_turn_offsets);
    places.full_turns = add(lists.full_turns);
    places.tiles = lists.tiles;
    places.work_count = static_cast<int>(lists.work.size());
    return places;
  }

  int64_t bytes() const { return bytes_; }

  std::unique_ptr<std::byte[]> pack() const {
    auto packed = std::make_unique_for_overwrite<std::byte[]>(bytes_);
    for (const Array& array : arrays_) {
      if (array.bytes > 0) std::memcpy(packed.get() + array.place, array.data, array.bytes);
    }
    return packed;
  }

 private:
  struct Array {
    const void* data;
    int64_t place;
    int64_t bytes;
  };
  std::vector<Array> arrays_;
  int64_t bytes_ = 0;
};

MaskImage::MaskImage(const BlockMask& mask, bool with_turns)
    : query_length_(static_cast<int32_t>(mask.query_length())),
      key_length_(static_cast<int32_t>(mask.key_length())),
      with_turns_(with_turns) {
  if (mask.batch_size() == 0) return;
  COEUS_CHECK(
      mask.tile_q() == kMaskTile && mask.tile_k() == kMaskTile,
      "[MaskImage] the mask is lowered to tiles of {} queries and {} keys, but attention on "
      "a GPU takes tiles of {} and {}; lower it with LowerOptions{{{}, {}}}",
      mask.tile_q(), mask.tile_k(), kMaskTile, kMaskTile, kMaskTile, kMaskTile);
  const DistinctRows distinct(mask);
  HostLists by_query;
  HostLists by_key;
  by_query.tiles = static_cast<int>(distinct.rows[0]->query_tiles());
  by_key.tiles = static_cast<int>(distinct.rows[0]->key_tiles());
  std::vector<MaskTileSource> tiles;
  std::vector<MaskRowSource> rows;
  Packer packer;
  for (const BlockMaskRow* const row : distinct.rows) {
    add_row(*row, static_cast<int32_t>(rows.size()), by_query, by_key, tiles);
    MaskRowSource& source = rows.emplace_back();
    source.interval_count = static_cast<int32_t>(row->interval_count);
    source.interval_begin = packer.add(row->interval_begin) / int64_t{sizeof(int32_t)};
    source.interval_end = packer.add(row->interval_end) / int64_t{sizeof(int32_t)};
    if (!row->key_ranks.empty())
      source.key_ranks = packer.add(row->key_ranks) / int64_t{sizeof(int32_t)};
    source.packed_bits = packer.add(row->bits) / int64_t{sizeof(uint64_t)};
  }
  by_query.work = work_of(by_query, distinct.number);
  by_key.work = work_of(by_key, distinct.number);
  if (with_turns) add_turns(by_key, distinct.number, by_query.tiles);

  by_query_ = packer.add(by_query);
  by_key_ = packer.add(by_key);
  distinct_row_ = packer.add(distinct.number);
  tiles_ = packer.add(tiles);
  rows_ = packer.add(rows);
  tile_count_ = static_cast<int32_t>(tiles.size());
  host_bytes_ = packer.bytes();
  by_query_.bits = host_bytes_;
  by_key_.bits = by_query_.bits + tile_count_ * kTileBitsBytes;
  packed_ = packer.pack();
}

int64_t MaskImage::device_bytes() const { return host_bytes_ + 2 * tile_count_ * kTileBitsBytes; }

MaskSource MaskImage::source_in(const void* memory) const {
  const auto* const base = static_cast<const std::byte*>(memory);
  MaskSource source;
  source.tiles = reinterpret_cast<const MaskTileSource*>(base + tiles_);
  source.rows = reinterpret_cast<const MaskRowSource*>(base + rows_);
  source.packed = memory;
  source.tile_count = tile_count_;
  source.query_length = query_length_;
  source.key_length = key_length_;
  return source;
}

DeviceMask MaskImage::mask_in(void* memory) const {
  if (host_bytes_ == 0) return {};
  auto* const base = static_cast<std::byte*>(memory);
  const auto lists_at = [&](const ListPlaces& places) {
    DeviceTileLists lists;
    lists.work = reinterpret_cast<const int2*>(base + places.work);
    lists.partial_offsets = reinterpret_cast<const int32_t*>(base + places.partial_offsets);
    lists.partial = reinterpret_cast<const int2*>(base + places.partial);
    lists.full_offsets = reinterpret_cast<const int32_t*>(base + places.full_offsets);
    lists.full = reinterpret_cast<const int2*>(base + places.full);
    lists.bits = reinterpret_cast<const uint32_t*>(base + places.bits);
    lists.tiles = places.tiles;
    lists.work_count = places.work_count;
    return lists;
  };
  DeviceMask mask = {lists_at(by_query_), lists_at(by_key_),
                     reinterpret_cast<const int32_t*>(base + distinct_row_)};
  if (with_turns_) {
    const auto numbers = [&](int64_t place) {
      return reinterpret_cast<const int32_t*>(base + place);
    };
    mask.by_key.partial_turns = numbers(by_key_.partial_turns);
    mask.by_key.full_turn_offsets = numbers(by_key_.full_turn_offsets);
    mask.by_key.full_turns = numbers(by_key_.full_turns);
  }
  return mask;
}

DeviceMask MaskImage::expand_on_host(void* memory) const {
  DeviceMask mask = mask_in(memory);
  if (host_bytes_ == 0) return mask;
  std::memcpy(memory, packed_.get(), host_bytes_);
  const MaskSource source = source_in(memory);
  for (int32_t entry = 0; entry < tile_count_; ++entry) {
    const MaskTileSource& tile = source.tiles[entry];
    auto* const by_query =
        const_cast<uint32_t*>(mask.by_query.bits) + int64_t{entry} * kMaskTileWords;
    auto* const by_key =
        const_cast<uint32_t*>(mask.by_key.bits) + int64_t{tile.by_key_entry} * kMaskTileWords;
    for (int at = 0; at < kMaskTileWords; ++at)
      by_query[at] = by_query_word(source, tile, at / kMaskWords, at % kMaskWords);
    for (int at = 0; at < kMaskTileWords; ++at)
      by_key[at] = by_key_word(by_query, at / kMaskWords, at % kMaskWords);
  }
  return mask;
}

}  // namespace coeus::cuda
