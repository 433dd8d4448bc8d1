// Keys in the order of their indices. Every leaf but dilated, dense and predicate shows a query one
// run, or a few runs, of keys in this order, however the keys are stored.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coeus/mask/sequence_layout.h"

namespace coeus {

/// A half-open range of ranks; empty when begin >= end.
struct RankRange {
  int32_t begin = 0;
  int32_t end = 0;
  bool operator==(const RankRange&) const = default;
};

/// A key's rank is its place among all keys sorted by index (equal ones as stored).
class KeyOrder {
 public:
  explicit KeyOrder(const TokenAttributes& keys);

  int32_t size() const { return static_cast<int32_t>(indices_.size()); }
  /// Whether the keys are stored in this order.
  bool is_stored() const { return ranks_.empty(); }
  /// Rank of each stored key; empty when the keys are stored in order.
  const std::vector<int32_t>& ranks() const { return ranks_; }
  /// Where the key of a rank is stored.
  int32_t place(int32_t rank) const { return is_stored() ? rank : places_[rank]; }

  /// The first rank whose key has at least this index; size() when there is none. `hint` in [0,
  /// size] is where to look first, such as the last answer.
  int32_t first_at_least(int64_t index, int32_t hint) const;
  /// first_at_least of each of `indices` + `shift`, written to `ranks`.
  void first_at_least(std::span<const int32_t> indices, int64_t shift, int32_t* ranks) const;

 private:
  std::span<const int32_t> indices_;
  std::vector<int32_t> sorted_indices_;
  std::vector<int32_t> places_;
  std::vector<int32_t> ranks_;
  bool is_consecutive_ = false;
};

/// For each document the ranks of its keys, as few ranges as hold them.
class DocumentRuns {
 public:
  /// Only keys whose offset is below `offset_limit` count.
  DocumentRuns(const TokenAttributes& keys, const KeyOrder& order, int64_t offset_limit);

  /// Ascending and apart; empty for a document without keys. `hint` speeds up asking for one
  /// document again and again, or for the next one: give the same variable each time.
  std::span<const RankRange> of(int32_t document, size_t& hint) const;
  /// The most ranges that a document has.
  size_t most_runs() const { return most_runs_; }

 private:
  std::vector<int32_t> documents_;
  /// Ranges of documents_[i] start at first_run_[i].
  std::vector<size_t> first_run_;
  std::vector<RankRange> runs_;
  size_t most_runs_ = 0;
};

}  // namespace coeus
