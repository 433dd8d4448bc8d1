// Packed masks held to what the lowered ones say, element by element.
#include "coeus/kernels/cuda/mask_image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"
#include "coeus/mask/random_case.h"
#include "coeus/mask/select.h"

namespace coeus::cuda {
namespace {

using coeus::testing::Random;
using coeus::testing::RandomCase;

constexpr LowerOptions kTiles{kMaskTile, kMaskTile};

/// One byte a pair of one row, this side's tokens times the other's; nothing where the lists are
/// malformed: a tile twice, a full tile over the end of the keys, bits past the ends.
std::optional<std::vector<uint8_t>> dense(const DeviceTileLists& lists, int32_t row, int64_t here,
                                          int64_t there, bool is_by_query) {
  std::vector<uint8_t> seen(here * there, 2);
  const int64_t there_tiles = (there + kMaskTile - 1) / kMaskTile;
  const auto visit = [&](int64_t tile, int64_t other, auto sees) {
    if (other < 0 || other >= there_tiles) return false;
    for (int64_t i = 0; i < kMaskTile; ++i) {
      for (int64_t j = 0; j < kMaskTile; ++j) {
        const int64_t a = tile * kMaskTile + i;
        const int64_t b = other * kMaskTile + j;
        const bool exists = a < here && b < there;
        if (!exists && sees(i, j) != 0) return false;
        if (!exists) continue;
        if (seen[a * there + b] != 2) return false;
        seen[a * there + b] = static_cast<uint8_t>(sees(i, j));
      }
    }
    return true;
  };
  for (int64_t tile = 0; tile < lists.tiles; ++tile) {
    const int64_t at = row * int64_t{lists.tiles} + tile;
    for (int32_t e = lists.partial_offsets[at]; e < lists.partial_offsets[at + 1]; ++e) {
      const int2 partial = lists.partial[e];
      const uint32_t* const words = lists.bits + int64_t{partial.y} * kMaskTileWords;
      const auto sees = [&](int64_t i, int64_t j) {
        return static_cast<int>(words[i * kMaskWords + j / 32] >> (j % 32) & 1);
      };
      if (!visit(tile, partial.x, sees)) return std::nullopt;
    }
    for (int32_t e = lists.full_offsets[at]; e < lists.full_offsets[at + 1]; ++e) {
      const int2 range = lists.full[e];
      if (range.x >= range.y) return std::nullopt;
      for (int other = range.x; other < range.y; ++other) {
        const int64_t keys_end = is_by_query ? (other + 1) * kMaskTile : (tile + 1) * kMaskTile;
        if (keys_end > (is_by_query ? there : here)) return std::nullopt;
        const auto sees = [&](int64_t i, int64_t j) {
          // Queries past the end may be in full tiles; nothing of them is there to see.
          return tile * kMaskTile + i < here && other * kMaskTile + j < there ? 1 : 0;
        };
        if (!visit(tile, other, sees)) return std::nullopt;
      }
    }
  }
  std::replace(seen.begin(), seen.end(), uint8_t{2}, uint8_t{0});
  return seen;
}

int64_t visits(const DeviceTileLists& lists, int64_t at) {
  int64_t count = lists.partial_offsets[at + 1] - lists.partial_offsets[at];
  for (int32_t j = lists.full_offsets[at]; j < lists.full_offsets[at + 1]; ++j)
    count += lists.full[j].y - lists.full[j].x;
  return count;
}

std::string work_complaint(const DeviceTileLists& lists, const int32_t* distinct_row,
                           int64_t batch) {
  if (lists.work_count != batch * lists.tiles) return "not all tiles are worked on";
  std::set<std::pair<int, int>> seen;
  for (int i = 0; i < lists.work_count; ++i) {
    const int2 work = lists.work[i];
    if (work.x < 0 || work.x >= batch || work.y < 0 || work.y >= lists.tiles)
      return "work on a tile that does not exist";
    if (!seen.emplace(work.x, work.y).second) return "a tile is worked on twice";
    if (i == 0) continue;
    const int2 before = lists.work[i - 1];
    const int64_t now = visits(lists, distinct_row[work.x] * int64_t{lists.tiles} + work.y);
    const int64_t then = visits(lists, distinct_row[before.x] * int64_t{lists.tiles} + before.y);
    if (now > then) return "heavier work comes later";
    if (now == then && std::pair(before.x, before.y) > std::pair(work.x, work.y))
      return "work of one weight is not in order";
  }
  return "";
}

/// What is wrong with the turns of lists by key: in the order of work, each tile of queries must be
/// visited at turn 0, 1, 2, … of each row of the batch.
std::string turns_complaint(const DeviceTileLists& lists, const int32_t* distinct_row) {
  std::map<std::pair<int, int>, int32_t> next;
  for (int i = 0; i < lists.work_count; ++i) {
    const int2 work = lists.work[i];
    const int64_t list = distinct_row[work.x] * int64_t{lists.tiles} + work.y;
    for (int32_t e = lists.partial_offsets[list]; e < lists.partial_offsets[list + 1]; ++e)
      if (lists.partial_turns[e] != next[{work.x, lists.partial[e].x}]++)
        return "a partial tile's turn is wrong";
    for (int32_t r = lists.full_offsets[list]; r < lists.full_offsets[list + 1]; ++r)
      for (int32_t tile = lists.full[r].x; tile < lists.full[r].y; ++tile)
        if (lists.full_turns[lists.full_turn_offsets[r] + tile - lists.full[r].x] !=
            next[{work.x, tile}]++)
          return "a full tile's turn is wrong";
  }
  return "";
}

/// What is wrong with the image of a mask; "" if nothing is.
std::string complaint(const BlockMask& mask) {
  const MaskImage image(mask, /*with_turns=*/true);
  // Poisoned, so that nothing is right by chance.
  std::vector<uint64_t> memory(image.device_bytes() / sizeof(uint64_t) + 1, ~uint64_t{0});
  const DeviceMask device = image.expand_on_host(memory.data());
  const int64_t queries = mask.query_length();
  const int64_t keys = mask.key_length();
  for (int64_t b = 0; b < mask.batch_size(); ++b) {
    const int32_t row = device.distinct_row[b];
    const std::vector<uint8_t> expected = mask.to_dense(b);
    const auto by_query = dense(device.by_query, row, queries, keys, true);
    if (!by_query) return "the lists by query are malformed";
    if (*by_query != expected) return "the lists by query say something else";
    const auto by_key = dense(device.by_key, row, keys, queries, false);
    if (!by_key) return "the lists by key are malformed";
    for (int64_t q = 0; q < queries; ++q) {
      for (int64_t k = 0; k < keys; ++k) {
        if ((*by_key)[k * queries + q] != expected[q * keys + k])
          return "the lists by key say something else";
      }
    }
  }
  std::string wrong = work_complaint(device.by_query, device.distinct_row, mask.batch_size());
  if (wrong.empty()) wrong = work_complaint(device.by_key, device.distinct_row, mask.batch_size());
  if (wrong.empty()) wrong = turns_complaint(device.by_key, device.distinct_row);
  if (memory.back() != ~uint64_t{0}) return "more than device_bytes is written";
  return wrong;
}

std::string complaint(const RandomCase& test) {
  return complaint(lower(test.mask, std::vector{test.layout()}, kTiles));
}

void check(const RandomCase& test, const std::string& label) {
  if (complaint(test).empty()) return;
  const RandomCase smallest =
      coeus::testing::shrink(test, [](const RandomCase& c) { return !complaint(c).empty(); });
  FAIL() << label << ": " << complaint(smallest) << "\n" << smallest.to_code();
}

SequenceLayout documents(std::vector<int64_t> lengths) {
  return SequenceLayout::from_document_lengths(lengths);
}

/// Queries and keys stored in an order of their own.
SequenceLayout shuffled(const SequenceLayout& layout, uint64_t seed) {
  Random random(seed);
  std::vector<int64_t> places(layout.key_length());
  std::iota(places.begin(), places.end(), 0);
  std::shuffle(places.begin(), places.end(), random);
  const SequenceLayout keys = select_keys(layout, places);
  places.resize(layout.query_length());
  std::iota(places.begin(), places.end(), 0);
  std::shuffle(places.begin(), places.end(), random);
  return select_queries(keys, places);
}

TEST(MaskImage, RandomExpressionsOverRandomLayoutsEqualTheirElements) {
  for (int64_t i = 0; i < 300; ++i) {
    Random random(9000 + i);
    RandomCase test = coeus::testing::random_layout(random, i % 10 == 0 ? 900 : 400);
    test.mask = coeus::testing::random_mask(random, test.tokens.size(), 4);
    check(test, fmt::format("case {}", i));
    if (HasFatalFailure()) return;
  }
}

TEST(MaskImage, EveryLeafEqualsItsElements) {
  Random random(1);
  for (int i = 0; i < 6; ++i) {
    RandomCase test = coeus::testing::random_layout(random, 500);
    for (int64_t kind = 0; kind < coeus::testing::kLeafKinds; ++kind) {
      const Mask leaf = coeus::testing::random_leaf(random, test.tokens.size(), kind);
      for (const Mask& mask : {leaf, ~leaf}) {
        test.mask = mask;
        check(test, "leaf");
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(MaskImage, LengthsThatEndWithinATile) {
  const std::vector<std::string> masks = {"full",
                                          "causal",
                                          "causal & document",
                                          "sliding_window(200)",
                                          "causal & document & chunk(96)",
                                          "dilated(3)",
                                          "full | dilated(2)",
                                          "~dilated(2) | prefix(130)",
                                          "causal & ~document"};
  for (const int64_t length : {1, 7, 127, 128, 129, 256, 300, 513}) {
    const SequenceLayout layout = documents({length / 3, length - length / 3});
    for (const std::string& text : masks) {
      const Mask mask = parse_mask(text);
      EXPECT_EQ(complaint(lower(mask, std::vector{layout}, kTiles)), "") << text << " " << length;
      EXPECT_EQ(complaint(lower(mask, std::vector{shuffled(layout, 5)}, kTiles)), "")
          << text << " shuffled " << length;
    }
  }
}

TEST(MaskImage, QueriesAndKeysOfDifferentLengths) {
  const SequenceLayout whole = documents({150, 201, 90});
  for (const char* const text : {"full", "causal & document", "dilated(2)", "causal & ~document"}) {
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 130}, {129, 441}, {300, 301}}) {
      const SequenceLayout few_queries = select_queries(whole, begin, end);
      const SequenceLayout few_keys = select_keys(whole, begin, end);
      const Mask mask = parse_mask(text);
      EXPECT_EQ(complaint(lower(mask, std::vector{few_queries}, kTiles)), "") << text << begin;
      EXPECT_EQ(complaint(lower(mask, std::vector{few_keys}, kTiles)), "") << text << begin;
    }
  }
}

TEST(MaskImage, RowsThatSeeNothing) {
  const SequenceLayout layout = documents({100, 200});
  EXPECT_EQ(complaint(lower(~mask::full(), std::vector{layout}, kTiles)), "");
  // Queries from token 150 on see nothing.
  EXPECT_EQ(complaint(lower(mask::chunk(150) & mask::prefix(150), std::vector{layout}, kTiles)),
            "");
  EXPECT_EQ(complaint(lower(mask::full(), std::vector{select_keys(layout, 0, 0)}, kTiles)), "");
  EXPECT_EQ(complaint(lower(mask::full(), std::vector{select_queries(layout, 0, 0)}, kTiles)), "");
  EXPECT_EQ(complaint(BlockMask()), "");
  EXPECT_EQ(MaskImage(BlockMask()).device_bytes(), 0);
}

TEST(MaskImage, PredicatesGetTheirBits) {
  const SequenceLayout layout = documents({200, 145});
  const Mask odd = mask::predicate(
      "odd", [](const Token& q, const Token& k) { return (q.index * 7 + k.index * 3) % 5 != 0; });
  EXPECT_EQ(complaint(lower(odd & mask::document(), std::vector{layout}, kTiles)), "");
  EXPECT_EQ(complaint(lower(odd | mask::causal(), std::vector{shuffled(layout, 2)}, kTiles)), "");
}

TEST(MaskImage, RowsThatABatchSharesStandInItOnce) {
  const std::vector<SequenceLayout> layouts = {documents({100, 207}), documents({307}),
                                               documents({100, 207}), documents({20, 250, 37})};
  for (const char* const text :
       {"causal & document", "document & dilated(2)", "document & dilated(2) | prefix(50)"}) {
    const BlockMask mask = lower(parse_mask(text), layouts, kTiles);
    EXPECT_EQ(complaint(mask), "") << text;
    const MaskImage image(mask);
    std::vector<uint64_t> memory(image.device_bytes() / sizeof(uint64_t) + 1);
    const DeviceMask device = image.expand_on_host(memory.data());
    EXPECT_EQ(std::vector<int32_t>(device.distinct_row, device.distinct_row + 4),
              (std::vector<int32_t>{0, 1, 0, 2}));
  }
}

TEST(MaskImage, RowsOfIntervalsAndRowsOfBitsInOneBatch) {
  const SequenceLayout layout = documents({100, 207});
  const auto intervals = lower_row(mask::causal() & mask::document(), layout, kTiles);
  const auto bits = lower_row(mask::causal() & mask::dilated(3), layout, kTiles);
  const auto most =
      lower_row(mask::full() & ~(mask::dilated(307) & mask::prefix(1)), layout, kTiles);
  EXPECT_EQ(complaint(BlockMask({bits, intervals, most, bits})), "");
}

TEST(MaskImage, TheHeaviestTilesComeFirst) {
  const BlockMask mask = lower(mask::causal(), std::vector(2, documents({512})), kTiles);
  const MaskImage image(mask);
  std::vector<uint64_t> memory(image.device_bytes() / sizeof(uint64_t) + 1);
  const DeviceMask device = image.expand_on_host(memory.data());
  ASSERT_EQ(device.by_query.work_count, 8);
  EXPECT_EQ(device.by_query.work[0].y, 3);
  EXPECT_EQ(device.by_query.work[1].x, 1);
  EXPECT_EQ(device.by_query.work[7].y, 0);
  EXPECT_EQ(device.by_key.work[0].y, 0);
}

TEST(MaskImage, OtherTilesAreRefused) {
  const BlockMask mask =
      lower(mask::causal(), std::vector{documents({300})}, LowerOptions{64, kMaskTile});
  try {
    MaskImage image(mask);
    FAIL() << "tiles of 64 queries were taken";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("64 queries and 128 keys"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace coeus::cuda
