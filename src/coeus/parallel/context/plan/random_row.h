// For tests: random rows with random masks and layer counts, and what dense masks say of a plan.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "coeus/mask/lower.h"
#include "coeus/mask/mask.h"
#include "coeus/mask/select.h"
#include "coeus/mask/sequence_layout.h"
#include "coeus/parallel/context/plan/context_plan.h"
#include "coeus/parallel/context/plan/context_row.h"

namespace coeus::testing {

/// A row before its masks are lowered.
struct RandomRow {
  TokenAttributes tokens;
  std::vector<Mask> masks;
  std::vector<int64_t> layers;  ///< of each mask
  LowerOptions options;

  ContextRow row() const {
    const SequenceLayout layout = SequenceLayout::self(tokens);
    std::vector<LayersMask> lowered;
    for (size_t i = 0; i < masks.size(); ++i)
      lowered.push_back(
          {fmt::format("mask {}", i), lower_row(masks[i], layout, options), layers[i]});
    return {layout, std::move(lowered)};
  }

  /// Enough to make the row anew where its tokens stand in order.
  std::string to_string() const {
    std::vector<int64_t> lengths;
    for (int64_t i = 0; i < tokens.size(); ++i) {
      if (i == 0 || tokens.document[i] != tokens.document[i - 1]) lengths.push_back(0);
      ++lengths.back();
    }
    std::string text = fmt::format(
        "documents of {} tokens{}", fmt::join(lengths, ", "),
        std::is_sorted(tokens.index.begin(), tokens.index.end()) ? "" : ", out of order");
    for (size_t i = 0; i < masks.size(); ++i)
      text += fmt::format("; {} layers of {}", layers[i], masks[i].to_string());
    return text;
  }
};

/// Draws rows; the same ones for the same seed.
class RandomRows {
 public:
  explicit RandomRows(uint64_t seed) : random_(seed) {}

  /// A whole number in [low, high].
  int64_t draw(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }

  /// A row of up to `most_tokens` tokens in up to 40 documents, under one to three masks.
  RandomRow row(int64_t most_tokens) {
    RandomRow row;
    const int64_t count = draw(1, most_tokens);
    row.tokens = *SequenceLayout::from_document_lengths(lengths(count)).query();
    // Some rows are stored out of order, so that their keys are as well.
    if (draw(0, 9) == 0) {
      std::vector<int64_t> places(count);
      std::iota(places.begin(), places.end(), 0);
      std::shuffle(places.begin(), places.end(), random_);
      row.tokens = select(row.tokens, places);
    }
    for (int64_t masks = draw(1, 3); masks > 0; --masks) {
      row.masks.push_back(mask(count, 3));
      row.layers.push_back(draw(1, 40));
    }
    const int64_t tile = draw(0, 1) == 0 ? draw(1, 33) : 64 * draw(1, 2);
    row.options = {tile, tile};
    return row;
  }

  /// An expression of at most `depth` levels, its numbers fit for rows of `tokens` tokens.
  Mask mask(int64_t tokens, int depth) {
    const int64_t choice = depth == 1 ? 0 : draw(0, 7);
    if (choice <= 1) return leaf(tokens);
    if (choice == 2) return ~mask(tokens, depth - 1);
    const Mask left = mask(tokens, depth - 1);
    const Mask right = mask(tokens, depth - 1);
    return choice <= 5 ? left & right : left | right;
  }

 private:
  std::vector<int64_t> lengths(int64_t tokens) {
    std::vector<int64_t> cuts = {0, tokens};
    for (int64_t more = draw(0, 39); more > 0; --more) cuts.push_back(draw(0, tokens));
    std::sort(cuts.begin(), cuts.end());
    std::vector<int64_t> lengths;
    for (size_t i = 1; i < cuts.size(); ++i)
      if (cuts[i] > cuts[i - 1]) lengths.push_back(cuts[i] - cuts[i - 1]);
    return lengths;
  }

  Mask leaf(int64_t tokens) {
    switch (draw(0, 9)) {
      case 0:
        return mask::full();
      case 1:
        return mask::sliding_window(draw(1, tokens + 1), draw(0, 2) == 0 ? draw(0, tokens) : 0);
      case 2:
        return mask::chunk(draw(1, tokens + 1));
      case 3:
        return mask::prefix(draw(0, tokens));
      case 4:
        return mask::sink(draw(0, 4));
      case 5:
        return mask::dilated(draw(1, 6));
      case 6:
      case 7:
        return mask::document();
      default:
        return mask::causal();
    }
  }

  std::mt19937_64 random_;
};

/// A row whose masks stand pair by pair, one byte each, [tokens, tokens].
struct DenseRow {
  explicit DenseRow(const ContextRow& row) {
    for (const LayersMask& mask : row.masks) dense.push_back(BlockMask({mask.row}).to_dense(0));
  }
  std::vector<std::vector<uint8_t>> dense;
};

/// The rank of each token.
inline std::vector<int64_t> owners(const ContextPlan& plan, int64_t tokens) {
  std::vector<int64_t> owners(tokens);
  for (int64_t rank = 0; rank < plan.rank_count(); ++rank)
    for (const int64_t place : places(plan.ranks[rank])) owners[place] = rank;
  return owners;
}

/// pairs_by_ranks, pair by pair.
inline std::vector<int64_t> counted_pairs(const std::vector<uint8_t>& dense,
                                          const ContextPlan& plan, int64_t tokens) {
  const std::vector<int64_t> owner = owners(plan, tokens);
  std::vector<int64_t> pairs(plan.rank_count() * plan.rank_count());
  for (int64_t q = 0; q < tokens; ++q)
    for (int64_t k = 0; k < tokens; ++k)
      pairs[owner[q] * plan.rank_count() + owner[k]] += dense[q * tokens + k];
  return pairs;
}

/// load_of, pair by pair.
inline PlanLoad counted_load(const ContextRow& row, const DenseRow& masks,
                             const ContextPlan& plan) {
  const int64_t tokens = row.tokens();
  const int64_t ranks = plan.rank_count();
  const std::vector<int64_t> owner = owners(plan, tokens);
  PlanLoad load = {std::vector<int64_t>(ranks), std::vector<int64_t>(ranks),
                   std::vector<int64_t>(ranks)};
  for (size_t i = 0; i < row.masks.size(); ++i) {
    const int64_t layers = row.masks[i].layers;
    std::vector<uint8_t> needed(ranks * tokens);
    for (int64_t q = 0; q < tokens; ++q) {
      for (int64_t k = 0; k < tokens; ++k) {
        if (masks.dense[i][q * tokens + k] == 0) continue;
        load.work[owner[q]] += layers;
        needed[owner[q] * tokens + k] = 1;
      }
    }
    for (int64_t rank = 0; rank < ranks; ++rank) {
      for (int64_t k = 0; k < tokens; ++k) {
        if (needed[rank * tokens + k] == 0 || owner[k] == rank) continue;
        load.received[rank] += layers;
        load.sent[owner[k]] += layers;
      }
    }
  }
  return load;
}

}  // namespace coeus::testing
