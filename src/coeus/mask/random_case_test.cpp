#include "coeus/mask/random_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "coeus/base/error.h"
#include "coeus/mask/mask_node.h"
#include "coeus/mask/select.h"

namespace coeus::testing {
namespace {

/// Tokens of a row whose documents lie in one piece, or are dealt out at random.
TokenAttributes random_tokens(Random& random, int64_t count) {
  TokenAttributes tokens;
  const int64_t documents = draw(random, 1, 40);
  const bool is_dealt = draw(random, 0, 9) == 0;
  std::vector<int32_t> seen(documents);
  int32_t document = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (is_dealt) {
      document = static_cast<int32_t>(draw(random, 0, documents - 1));
    } else if (document + 1 < documents && draw(random, 1, count) <= documents) {
      ++document;
    }
    tokens.index.push_back(static_cast<int32_t>(i));
    tokens.document.push_back(document);
    tokens.offset.push_back(seen[document]++);
  }
  return tokens;
}

/// Which tokens stand on one side: all in order; a shard of chunks; a few; shuffled; in stripes.
std::vector<int64_t> random_places(Random& random, int64_t count) {
  std::vector<int64_t> places(count);
  std::iota(places.begin(), places.end(), 0);
  switch (draw(random, 0, 7)) {
    case 0:
      std::shuffle(places.begin(), places.end(), random);
      break;
    case 1: {  // A shard of context parallelism: some of the row's chunks, in any order.
      const int64_t chunk = draw(random, 1, std::max<int64_t>(1, count / 4));
      std::vector<int64_t> chunks((count + chunk - 1) / chunk);
      std::iota(chunks.begin(), chunks.end(), 0);
      std::shuffle(chunks.begin(), chunks.end(), random);
      chunks.resize(draw(random, 1, std::max<int64_t>(1, chunks.size())));
      places.clear();
      for (const int64_t c : chunks) {
        for (int64_t i = c * chunk; i < std::min((c + 1) * chunk, count); ++i) places.push_back(i);
      }
      break;
    }
    case 2:  // The last few: decoding with a cache of keys.
      places.erase(places.begin(), places.begin() + draw(random, 0, count));
      break;
    case 3: {  // Every n-th token of each of n ranks, one rank after another.
      const int64_t n = draw(random, 1, 9);
      std::stable_sort(places.begin(), places.end(),
                       [n](int64_t a, int64_t b) { return a % n < b % n; });
      break;
    }
    case 4:  // Any tokens, some twice.
      for (int64_t& place : places) place = draw(random, 0, count - 1);
      break;
    default:
      break;
  }
  if (draw(random, 0, 60) == 0) places.clear();
  return places;
}

int64_t random_tile(Random& random, int64_t tokens) {
  constexpr int64_t kUsual[] = {64, 128, 256};
  return tokens < 100 || draw(random, 0, 2) == 0 ? draw(random, 1, 33) : kUsual[draw(random, 0, 2)];
}

template <typename T>
std::string list_code(const std::vector<T>& values) {
  return fmt::format("{{{}}}", fmt::join(values, ", "));
}

/// Every way to make a mask one step smaller.
std::vector<Mask> smaller_masks(const Mask& mask) {
  std::vector<Mask> smaller;
  const MaskNode& node = mask.node();
  for (size_t i = 0; i < node.operands.size(); ++i) {
    smaller.emplace_back(node.operands[i]);
    for (const Mask& inner : smaller_masks(Mask(node.operands[i]))) {
      MaskNode replaced = node;
      replaced.depth = 1;
      replaced.operands[i] = inner.shared_node();
      smaller.emplace_back(make_node(std::move(replaced)));
    }
    if (node.operands.size() > 2) {
      auto fewer = node.operands;
      fewer.erase(fewer.begin() + i);
      smaller.emplace_back(make_chain(node.kind, std::move(fewer)));
    }
  }
  return smaller;
}

/// Lists with a half, a quarter, … a single entry left out.
std::vector<std::vector<int64_t>> smaller_lists(const std::vector<int64_t>& places) {
  std::vector<std::vector<int64_t>> smaller;
  for (size_t length = places.size(); length > 0; length /= 2) {
    for (size_t at = 0; at + length <= places.size(); at += length) {
      auto fewer = places;
      fewer.erase(fewer.begin() + at, fewer.begin() + at + length);
      smaller.push_back(std::move(fewer));
    }
  }
  return smaller;
}

std::vector<RandomCase> smaller_cases(const RandomCase& test) {
  std::vector<RandomCase> smaller;
  for (const Mask& mask : smaller_masks(test.mask)) {
    smaller.push_back(test);
    smaller.back().mask = mask;
  }
  for (auto& places : smaller_lists(test.query_places)) {
    smaller.push_back(test);
    smaller.back().query_places = places;
  }
  for (auto& places : smaller_lists(test.key_places)) {
    smaller.push_back(test);
    smaller.back().key_places = places;
  }
  return smaller;
}

}  // namespace

SequenceLayout RandomCase::layout() const {
  return SequenceLayout(select(tokens, query_places), select(tokens, key_places));
}

std::string RandomCase::to_code() const {
  const auto attributes_code = [](const TokenAttributes& t) {
    return fmt::format("TokenAttributes{{{}, {}, {}}}", list_code(t.index), list_code(t.document),
                       list_code(t.offset));
  };
  const SequenceLayout chosen = layout();
  return fmt::format(
      "const SequenceLayout layout({},\n    {});\nconst Mask mask = parse_mask(\"{}\");\n"
      "const BlockMask lowered = lower(mask, std::vector{{layout}}, {{{}, {}}});\n",
      attributes_code(*chosen.query()), attributes_code(*chosen.key()), mask.to_string(),
      options.tile_q, options.tile_k);
}

int64_t draw(Random& random, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
}

Mask random_leaf(Random& random, int64_t tokens, int64_t kind) {
  const int64_t size = std::max<int64_t>(tokens, 1);
  const auto number = [&](int64_t low) {
    return draw(random, 0, 3) == 0 ? draw(random, low, low + 3) : draw(random, low, size + 2);
  };
  switch (kind) {
    case 0:
      return mask::full();
    case 1:
      return mask::causal();
    case 2:
      return mask::document();
    case 3:
      return mask::sliding_window(number(1), draw(random, 0, 2) == 0 ? number(0) : 0);
    case 4:
      return mask::chunk(number(1));
    case 5:
      return mask::prefix(number(0));
    case 6:
      return mask::sink(number(0));
    case 7:
      return mask::dilated(draw(random, 1, 6));
    case 8: {
      std::vector<uint8_t> bits(size * size);
      const int64_t density = draw(random, 0, 4);
      for (uint8_t& bit : bits) bit = draw(random, 0, 3) < density;
      return mask::dense(size, size, bits);
    }
    default: {
      const int64_t modulus = draw(random, 1, 5);
      return mask::predicate(fmt::format("(3 q + k + document) % {} == 0", modulus),
                             [modulus](const Token& q, const Token& k) {
                               return (3 * q.index + k.index + k.document) % modulus == 0;
                             });
    }
  }
}

Mask random_mask(Random& random, int64_t tokens, int depth) {
  const int64_t choice = depth <= 1 ? 0 : draw(random, 0, 9);
  if (choice <= 1) {
    // Every other draw leaves out the leaves that intervals cannot say.
    return random_leaf(random, tokens, draw(random, 0, draw(random, 0, 1) == 0 ? 6 : 9));
  }
  if (choice == 2) return ~random_mask(random, tokens, depth - 1);
  Mask result = random_mask(random, tokens, depth - 1);
  for (int64_t more = draw(random, 1, 2); more > 0; --more) {
    const Mask other = random_mask(random, tokens, depth - 1);
    result = choice <= 6 ? result & other : result | other;
  }
  return result;
}

RandomCase random_layout(Random& random, int64_t most_tokens) {
  RandomCase test;
  const int64_t count = draw(random, 1, most_tokens);
  test.tokens = random_tokens(random, count);
  test.query_places = random_places(random, count);
  // Queries and keys are the same tokens in the same order in one case of three.
  test.key_places = draw(random, 0, 2) == 0 ? test.query_places : random_places(random, count);
  test.options.tile_q = random_tile(random, count);
  test.options.tile_k = draw(random, 0, 1) == 0 ? test.options.tile_q : random_tile(random, count);
  return test;
}

RandomCase shrink(RandomCase failing, const std::function<bool(const RandomCase&)>& fails) {
  for (bool shrunk = true; shrunk;) {
    shrunk = false;
    for (RandomCase& smaller : smaller_cases(failing)) {
      if (!fails(smaller)) continue;
      failing = std::move(smaller);
      shrunk = true;
      break;
    }
  }
  return failing;
}

TEST(Shrinking, FindsTheSmallestCaseThatStillFails) {
  Random random(7);
  RandomCase test = random_layout(random, 60);
  while (test.query_places.size() < 10) test = random_layout(random, 60);
  test.mask = mask::causal() & (mask::document() | ~mask::chunk(3));
  const auto needs_a_chunk_and_two_queries = [](const RandomCase& c) {
    return c.query_places.size() >= 2 && c.mask.to_string().find("chunk") != std::string::npos;
  };
  const RandomCase smallest = shrink(test, needs_a_chunk_and_two_queries);
  EXPECT_EQ(smallest.mask, mask::chunk(3));
  EXPECT_EQ(smallest.query_places.size(), 2u);
  EXPECT_TRUE(smallest.key_places.empty());
}

}  // namespace coeus::testing
