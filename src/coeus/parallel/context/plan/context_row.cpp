#include "coeus/parallel/context/plan/context_row.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "coeus/base/error.h"

namespace coeus {

ContextRow::ContextRow(SequenceLayout layout_in, std::vector<LayersMask> masks_in)
    : layout(std::move(layout_in)), masks(std::move(masks_in)), work_before(tokens() + 1) {
  for (const LayersMask& mask : masks) {
    COEUS_CHECK(mask.row != nullptr && mask.row->query_length == tokens() &&
                    mask.row->key_length == tokens(),
                "[ContextRow] mask \"{}\" is not for {} tokens over themselves", mask.name,
                tokens());
    COEUS_CHECK(mask.layers >= 1, "[ContextRow] {} layers take mask \"{}\"", mask.layers,
                mask.name);
    const std::vector<int64_t> areas = BlockMask({mask.row}).query_areas(0);
    std::vector<int64_t>& before = mask_work_before.emplace_back(tokens() + 1);
    for (int64_t q = 0; q < tokens(); ++q) before[q + 1] = before[q] + areas[q] * mask.layers;
    for (int64_t q = 0; q <= tokens(); ++q) work_before[q] += before[q];
  }
}

int64_t ContextRow::work_of(const TokenRuns& runs) const {
  int64_t work = 0;
  for (const TokenRun& run : runs) work += work_before[run.end] - work_before[run.begin];
  return work;
}

const LayersMask& ContextRow::main_mask() const {
  COEUS_CHECK(!masks.empty(), "[ContextRow] the row has no mask");
  return *std::max_element(
      masks.begin(), masks.end(),
      [](const LayersMask& a, const LayersMask& b) { return a.layers < b.layers; });
}

ContextRow context_row(const SequenceLayout& layout, const AttentionMasks& masks, int64_t row,
                       const std::map<std::string, int64_t>& layers) {
  std::vector<LayersMask> of_row;
  for (const auto& [name, mask] : masks) {
    const auto found = layers.find(name);
    of_row.push_back({name, mask.shared_row(row), found == layers.end() ? 1 : found->second});
  }
  return {layout, std::move(of_row)};
}

int64_t PlanLoad::most_work() const {
  return work.empty() ? 0 : *std::max_element(work.begin(), work.end());
}

double PlanLoad::imbalance() const {
  const int64_t sum = std::accumulate(work.begin(), work.end(), int64_t{0});
  if (sum == 0) return 1;
  return static_cast<double>(most_work()) * static_cast<double>(work.size()) /
         static_cast<double>(sum);
}

int64_t PlanLoad::all_received() const {
  return std::accumulate(received.begin(), received.end(), int64_t{0});
}

std::vector<int64_t> work_by_rank(const ContextRow& row, const ContextPlan& plan) {
  std::vector<int64_t> work;
  for (const TokenRuns& runs : plan.ranks) work.push_back(row.work_of(runs));
  return work;
}

PlanLoad load_of(const ContextRow& row, const ContextPlan& plan) {
  PlanLoad load = {work_by_rank(row, plan), std::vector<int64_t>(plan.rank_count()),
                   std::vector<int64_t>(plan.rank_count())};
  /// Every run of every rank, by where it begins.
  std::vector<std::pair<TokenRun, int64_t>> owned;
  for (int64_t rank = 0; rank < plan.rank_count(); ++rank)
    for (const TokenRun& run : plan.ranks[rank]) owned.emplace_back(run, rank);
  std::sort(owned.begin(), owned.end(),
            [](const auto& a, const auto& b) { return a.first.begin < b.first.begin; });
  for (const LayersMask& mask : row.masks) {
    for (int64_t rank = 0; rank < plan.rank_count(); ++rank) {
      for (const TokenRun& seen : keys_seen(*mask.row, plan.ranks[rank])) {
        auto owner = std::upper_bound(
            owned.begin(), owned.end(), seen.begin,
            [](int64_t place, const auto& entry) { return place < entry.first.begin; });
        for (--owner; owner != owned.end() && owner->first.begin < seen.end; ++owner) {
          if (owner->second == rank) continue;
          const int64_t tokens =
              std::min(seen.end, owner->first.end) - std::max(seen.begin, owner->first.begin);
          load.received[rank] += tokens * mask.layers;
          load.sent[owner->second] += tokens * mask.layers;
        }
      }
    }
  }
  return load;
}

int64_t least_possible_work(const ContextRow& row, const std::vector<int64_t>& counts) {
  if (counts.empty()) return 0;
  const auto ranks = static_cast<int64_t>(counts.size());
  std::vector<int64_t> work(row.tokens());
  for (int64_t q = 0; q < row.tokens(); ++q) work[q] = row.work_before[q + 1] - row.work_before[q];
  std::sort(work.begin(), work.end());
  // One rank has the costliest token, with the cheapest ones beside it at best; and some rank has
  // at least the mean.
  const int64_t fewest = *std::min_element(counts.begin(), counts.end());
  int64_t with_costliest = work.empty() ? 0 : work.back();
  for (int64_t i = 0; i + 1 < fewest; ++i) with_costliest += work[i];
  return std::max((row.work() + ranks - 1) / ranks, with_costliest);
}

}  // namespace coeus
