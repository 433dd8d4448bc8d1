#include "coeus/mask/key_order.h"

#include <algorithm>
#include <numeric>

namespace coeus {
namespace {

/// Places in ascending order of their index, equal ones as they stand.
std::vector<int32_t> sorted_places(const std::vector<int32_t>& index) {
  std::vector<int32_t> places(index.size());
  const int64_t largest = *std::max_element(index.begin(), index.end());
  if (largest > 4 * static_cast<int64_t>(index.size())) {
    std::iota(places.begin(), places.end(), 0);
    std::stable_sort(places.begin(), places.end(),
                     [&](int32_t a, int32_t b) { return index[a] < index[b]; });
    return places;
  }
  // Indices of a row are dense enough to count.
  std::vector<int32_t> next(largest + 2);
  for (const int32_t i : index) ++next[i + 1];
  std::partial_sum(next.begin(), next.end(), next.begin());
  for (size_t place = 0; place < index.size(); ++place) {
    places[next[index[place]]++] = static_cast<int32_t>(place);
  }
  return places;
}

}  // namespace

KeyOrder::KeyOrder(const TokenAttributes& keys) : indices_(keys.index) {
  const auto& index = keys.index;
  if (!std::is_sorted(index.begin(), index.end())) {
    places_ = sorted_places(index);
    ranks_.resize(index.size());
    sorted_indices_.resize(index.size());
    for (int32_t rank = 0; rank < static_cast<int32_t>(index.size()); ++rank) {
      ranks_[places_[rank]] = rank;
      sorted_indices_[rank] = index[places_[rank]];
    }
    indices_ = sorted_indices_;
  }
  is_consecutive_ = true;
  for (size_t i = 1; i < indices_.size(); ++i)
    is_consecutive_ &= indices_[i] == indices_[i - 1] + 1;
}

int32_t KeyOrder::first_at_least(int64_t index, int32_t hint) const {
  const int32_t count = size();
  if (count == 0) return 0;
  if (is_consecutive_) {
    return static_cast<int32_t>(std::clamp<int64_t>(index - indices_[0], 0, count));
  }
  // Gallop away from the hint, then halve.
  int32_t low = 0;
  int32_t high = count;
  int64_t step = 1;
  if (hint < count && indices_[hint] < index) {
    low = hint + 1;
    while (hint + step < count && indices_[hint + step] < index) {
      low = static_cast<int32_t>(hint + step + 1);
      step *= 2;
    }
    high = static_cast<int32_t>(std::min<int64_t>(hint + step, count));
  } else {
    high = hint;
    while (hint - step >= 0 && indices_[hint - step] >= index) {
      high = static_cast<int32_t>(hint - step);
      step *= 2;
    }
    low = static_cast<int32_t>(std::max<int64_t>(hint - step, 0));
  }
  return static_cast<int32_t>(
      std::lower_bound(indices_.begin() + low, indices_.begin() + high, index) - indices_.begin());
}

void KeyOrder::first_at_least(std::span<const int32_t> indices, int64_t shift,
                              int32_t* ranks) const {
  if (is_consecutive_ && size() > 0) {
    const int64_t first = shift - indices_[0];
    const int64_t count = size();
    for (size_t i = 0; i < indices.size(); ++i) {
      ranks[i] = static_cast<int32_t>(std::clamp<int64_t>(indices[i] + first, 0, count));
    }
    return;
  }
  int32_t hint = 0;
  for (size_t i = 0; i < indices.size(); ++i) {
    ranks[i] = hint = first_at_least(indices[i] + shift, hint);
  }
}

DocumentRuns::DocumentRuns(const TokenAttributes& keys, const KeyOrder& order,
                           int64_t offset_limit) {
  struct Run {
    int32_t document;
    RankRange range;
  };
  std::vector<Run> found;
  for (int32_t rank = 0; rank < order.size(); ++rank) {
    const int32_t place = order.place(rank);
    if (keys.offset[place] >= offset_limit) continue;
    const int32_t document = keys.document[place];
    if (!found.empty() && found.back().document == document && found.back().range.end == rank) {
      ++found.back().range.end;
    } else {
      found.push_back({document, {rank, rank + 1}});
    }
  }
  const auto by_document = [](const Run& a, const Run& b) { return a.document < b.document; };
  if (!std::is_sorted(found.begin(), found.end(), by_document)) {
    std::stable_sort(found.begin(), found.end(), by_document);
  }
  for (const Run& run : found) {
    if (documents_.empty() || documents_.back() != run.document) {
      documents_.push_back(run.document);
      first_run_.push_back(runs_.size());
    }
    runs_.push_back(run.range);
    most_runs_ = std::max(most_runs_, runs_.size() - first_run_.back());
  }
  first_run_.push_back(runs_.size());
}

std::span<const RankRange> DocumentRuns::of(int32_t document, size_t& hint) const {
  const auto is_at = [&](size_t i) { return i < documents_.size() && documents_[i] == document; };
  if (!is_at(hint)) {
    if (is_at(hint + 1)) {
      ++hint;
    } else {
      hint = std::lower_bound(documents_.begin(), documents_.end(), document) - documents_.begin();
      if (!is_at(hint)) return {};
    }
  }
  return std::span(runs_).subspan(first_run_[hint], first_run_[hint + 1] - first_run_[hint]);
}

}  // namespace coeus
