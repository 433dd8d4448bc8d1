// For tests: random masks over random layouts, made smaller when they fail, printed as code.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "coeus/mask/lower.h"
#include "coeus/mask/mask.h"
#include "coeus/mask/sequence_layout.h"

namespace coeus::testing {

/// A mask, a layout and tile sizes, in a form that can be printed and shrunk.
struct RandomCase {
  /// Tokens by attribute; documents need not lie in one piece.
  TokenAttributes tokens;
  /// Which tokens are queries and which are keys, in order of storage.
  std::vector<int64_t> query_places;
  std::vector<int64_t> key_places;
  Mask mask = mask::full();
  LowerOptions options;

  SequenceLayout layout() const;
  /// C++ that makes `layout`, `mask` and `options` anew (dense and predicate leaves as in
  /// `leaves`).
  std::string to_code() const;
};

using Random = std::mt19937_64;

/// A whole number in [low, high].
int64_t draw(Random& random, int64_t low, int64_t high);

/// How many kinds of leaves there are; the last three (dilated, dense, predicate) are not
/// intervals.
inline constexpr int64_t kLeafKinds = 10;
/// A leaf of the given kind, its numbers fit for rows of up to `tokens` tokens.
Mask random_leaf(Random& random, int64_t tokens, int64_t kind);
/// An expression of at most `depth` levels.
Mask random_mask(Random& random, int64_t tokens, int depth);
/// A layout of up to `most_tokens` tokens; the mask is left for the caller to set.
RandomCase random_layout(Random& random, int64_t most_tokens);

/// The smallest case found that still fails, by dropping parts of the expression, tokens and tile
/// sizes as long as `fails` says so.
RandomCase shrink(RandomCase failing, const std::function<bool(const RandomCase&)>& fails);

}  // namespace coeus::testing
