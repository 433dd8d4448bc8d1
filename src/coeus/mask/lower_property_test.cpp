// Lowering held to the element-by-element meaning of masks, over random masks and layouts.
// COEUS_MASK_CASES sets how many random cases there are (1,000 by default).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"
#include "coeus/mask/random_case.h"
#include "coeus/mask/select.h"

namespace coeus {
namespace {

using testing::draw;
using testing::Random;
using testing::RandomCase;

std::vector<uint8_t> reference(const Mask& mask, const SequenceLayout& layout) {
  std::vector<uint8_t> dense;
  dense.reserve(layout.query_length() * layout.key_length());
  for (int64_t q = 0; q < layout.query_length(); ++q) {
    for (int64_t k = 0; k < layout.key_length(); ++k) {
      dense.push_back(mask.sees(layout.query()->token(q), layout.key()->token(k)));
    }
  }
  return dense;
}

enum class Fill : char { kEmpty = '.', kPartial = '+', kFull = '#' };

/// The tiles of a dense mask, [query_tiles, key_tiles].
std::vector<Fill> tiles_of(const std::vector<uint8_t>& dense, const BlockMaskRow& row) {
  std::vector<Fill> tiles;
  for (int64_t i = 0; i < row.query_tiles(); ++i) {
    for (int64_t j = 0; j < row.key_tiles(); ++j) {
      int64_t visible = 0;
      int64_t size = 0;
      for (int64_t q = i * row.tile_q; q < std::min((i + 1) * row.tile_q, row.query_length); ++q) {
        for (int64_t k = j * row.tile_k; k < std::min((j + 1) * row.tile_k, row.key_length); ++k) {
          visible += dense[q * row.key_length + k];
          ++size;
        }
      }
      tiles.push_back(visible == 0 ? Fill::kEmpty : visible == size ? Fill::kFull : Fill::kPartial);
    }
  }
  return tiles;
}

/// The tiles that lists speak of, [tiles here, tiles there]; nothing if the lists are malformed.
std::optional<std::vector<Fill>> tiles_of(const TileLists& lists, int64_t here, int64_t there) {
  std::vector<Fill> tiles(here * there, Fill::kEmpty);
  if (static_cast<int64_t>(lists.full_offsets.size()) != here + 1) return std::nullopt;
  if (static_cast<int64_t>(lists.partial_offsets.size()) != here + 1) return std::nullopt;
  for (int64_t i = 0; i < here; ++i) {
    int64_t before = -1;
    for (int32_t j = lists.full_offsets[i]; j < lists.full_offsets[i + 1]; ++j) {
      const int64_t begin = lists.full_ranges[2 * j];
      const int64_t end = lists.full_ranges[2 * j + 1];
      if (begin <= before || begin >= end || end > there) return std::nullopt;
      for (int64_t t = begin; t < end; ++t) tiles[i * there + t] = Fill::kFull;
      before = end;
    }
    before = -1;
    for (int32_t j = lists.partial_offsets[i]; j < lists.partial_offsets[i + 1]; ++j) {
      const int64_t t = lists.partial_tiles[j];
      if (t <= before || t >= there || tiles[i * there + t] != Fill::kEmpty) return std::nullopt;
      tiles[i * there + t] = Fill::kPartial;
      before = t;
    }
  }
  return tiles;
}

std::string intervals_complaint(const BlockMaskRow& row) {
  for (int64_t q = 0; q < row.query_length && row.interval_count > 0; ++q) {
    int64_t before = -1;
    bool ended = false;
    for (int64_t s = 0; s < row.interval_count; ++s) {
      const int64_t begin = row.interval_begin[s * row.query_length + q];
      const int64_t end = row.interval_end[s * row.query_length + q];
      if (begin == end) {
        ended = true;
        continue;
      }
      if (ended || begin <= before || end < begin || end > row.key_length) {
        return "intervals of a query are not ascending and apart";
      }
      before = end;
    }
  }
  return "";
}

std::string transpose_complaint(const BlockMaskRow& row, const std::vector<Fill>& by_query) {
  const auto by_key = tiles_of(row.by_key, row.key_tiles(), row.query_tiles());
  if (!by_key) return "the lists by key tile are malformed";
  for (int64_t i = 0; i < row.query_tiles(); ++i) {
    for (int64_t j = 0; j < row.key_tiles(); ++j) {
      if (by_query[i * row.key_tiles() + j] != (*by_key)[j * row.query_tiles() + i]) {
        return "the lists by key tile are no transpose";
      }
    }
  }
  for (int64_t j = 0; j < row.key_tiles(); ++j) {
    for (int32_t e = row.by_key.partial_offsets[j]; e < row.by_key.partial_offsets[j + 1]; ++e) {
      const int32_t entry = row.by_key_entries[e];
      const int32_t tile = row.by_key.partial_tiles[e];
      if (row.by_query.partial_tiles[entry] != j || entry < row.by_query.partial_offsets[tile] ||
          entry >= row.by_query.partial_offsets[tile + 1]) {
        return "an entry of the lists by key tile leads elsewhere";
      }
    }
  }
  return "";
}

std::string segments_complaint(const BlockMask& mask, const std::vector<uint8_t>& expected) {
  const auto segments = mask.segments(0, mask.query_length() + 1);
  if (!segments) return "";
  std::vector<uint8_t> dense(expected.size());
  int64_t next = 0;
  for (const Segment& segment : *segments) {
    if (segment.query_begin != next) return "segments leave out queries";
    for (int64_t q = segment.query_begin; q < segment.query_end; ++q) {
      const int64_t end =
          segment.causal ? segment.key_begin + q - segment.query_begin + 1 : segment.key_end;
      if (segment.causal &&
          segment.key_end - segment.key_begin != segment.query_end - segment.query_begin) {
        return "a causal segment is not square";
      }
      for (int64_t k = segment.key_begin; k < end; ++k) dense[q * mask.key_length() + k] = 1;
    }
    next = segment.query_end;
  }
  if (next != mask.query_length()) return "segments leave out the last queries";
  return dense == expected ? "" : "segments say something else";
}

/// What is wrong with a lowered mask that should equal `expected`; "" if nothing is.
std::string complaint(const BlockMask& mask, const std::vector<uint8_t>& expected) {
  const BlockMaskRow& row = mask.row(0);
  if (mask.to_dense(0) != expected) return "to_dense differs from the elements";
  const auto by_query = tiles_of(row.by_query, row.query_tiles(), row.key_tiles());
  if (!by_query) return "the lists by query tile are malformed";
  const auto tiles = tiles_of(expected, row);
  if (*by_query != tiles) return "tiles are not what their elements say";
  const TileCounts counts = mask.tile_counts(0);
  if (counts.full != std::count(tiles.begin(), tiles.end(), Fill::kFull) ||
      counts.partial != std::count(tiles.begin(), tiles.end(), Fill::kPartial) ||
      counts.empty != std::count(tiles.begin(), tiles.end(), Fill::kEmpty)) {
    return "tile counts are wrong";
  }
  if (mask.area(0) != std::count(expected.begin(), expected.end(), 1)) return "area is wrong";
  const auto areas = mask.query_areas(0);
  for (int64_t q = 0; q < row.query_length; ++q) {
    const auto line = expected.begin() + q * row.key_length;
    if (areas[q] != std::count(line, line + row.key_length, 1)) return "query_areas is wrong";
    const int64_t k = (q * 37 + 11) % std::max<int64_t>(row.key_length, 1);
    if (row.key_length > 0 && mask.sees(0, q, k) != (line[k] != 0)) return "sees is wrong";
  }
  std::string wrong = intervals_complaint(row);
  if (wrong.empty()) wrong = transpose_complaint(row, *by_query);
  if (wrong.empty()) wrong = segments_complaint(mask, expected);
  return wrong;
}

std::string complaint(const RandomCase& test) {
  const SequenceLayout layout = test.layout();
  const auto expected = reference(test.mask, layout);
  const BlockMask lowered = lower(test.mask, std::vector{layout}, test.options);
  std::string wrong = complaint(lowered, expected);
  if (!wrong.empty()) return wrong;

  const int64_t begin = layout.query_length() / 3;
  const int64_t end = layout.query_length() - layout.query_length() / 5;
  const std::vector<uint8_t> part(expected.begin() + begin * layout.key_length(),
                                  expected.begin() + end * layout.key_length());
  wrong = complaint(lowered.slice_queries(begin, end), part);
  if (!wrong.empty()) return "after slice_queries: " + wrong;
  wrong = complaint(lower(test.mask, std::vector{select_queries(layout, begin, end)}, test.options),
                    part);
  return wrong.empty() ? "" : "after select_queries: " + wrong;
}

void check(const RandomCase& test, const std::string& label) {
  if (complaint(test).empty()) return;
  const RandomCase smallest =
      testing::shrink(test, [](const RandomCase& c) { return !complaint(c).empty(); });
  FAIL() << label << ": " << complaint(smallest) << "\n" << smallest.to_code();
}

int64_t random_case_count() {
  const char* const text = std::getenv("COEUS_MASK_CASES");
  return text == nullptr ? 1000 : std::stoll(text);
}

std::vector<Mask> one_leaf_of_each_kind(Random& random, const RandomCase& test) {
  std::vector<Mask> leaves;
  for (int64_t kind = 0; kind < testing::kLeafKinds; ++kind) {
    leaves.push_back(testing::random_leaf(random, test.tokens.size(), kind));
  }
  return leaves;
}

constexpr int kLayouts = 12;

TEST(LoweringProperty, EveryLeafEqualsItsElements) {
  Random random(1);
  for (int i = 0; i < kLayouts; ++i) {
    RandomCase test = testing::random_layout(random, 300);
    for (const Mask& leaf : one_leaf_of_each_kind(random, test)) {
      test.mask = leaf;
      check(test, "leaf");
      test.mask = ~leaf;
      check(test, "negated leaf");
      if (HasFatalFailure()) return;
    }
  }
}

TEST(LoweringProperty, EveryPairOfLeavesUnderEachOperatorEqualsItsElements) {
  Random random(2);
  for (int i = 0; i < kLayouts / 2; ++i) {
    RandomCase test = testing::random_layout(random, 80);
    const auto first = one_leaf_of_each_kind(random, test);
    const auto second = one_leaf_of_each_kind(random, test);
    for (const Mask& a : first) {
      for (const Mask& b : second) {
        for (const Mask& combined : {a & b, a | b, a & ~b, ~a | b, ~(a & b), ~(a | b)}) {
          test.mask = combined;
          check(test, "pair");
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(LoweringProperty, RandomExpressionsOverRandomLayoutsEqualTheirElements) {
  const int64_t cases = random_case_count();
  for (int64_t i = 0; i < cases; ++i) {
    Random random(1000 + i);
    // Large rows take most of the time, so most rows are small.
    RandomCase test = testing::random_layout(random, i % 20 == 0 ? 700 : i % 4 == 0 ? 300 : 90);
    test.mask = testing::random_mask(random, test.tokens.size(), 4);
    check(test, fmt::format("case {}", i));
    if (HasFatalFailure()) return;
  }
}

TEST(LoweringProperty, SimplifyingChangesNoElementAndIsDoneAfterOnce) {
  for (int64_t i = 0; i < 500; ++i) {
    Random random(50000 + i);
    const RandomCase test = testing::random_layout(random, 40);
    const Mask mask = testing::random_mask(random, test.tokens.size(), 5);
    const Mask simple = mask.simplified();
    ASSERT_EQ(reference(mask, test.layout()), reference(simple, test.layout()))
        << mask.to_string() << " became " << simple.to_string();
    ASSERT_EQ(simple.simplified(), simple) << mask.to_string();
  }
}

}  // namespace
}  // namespace coeus
