#include "coeus/parallel/context/plan/even_layers.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "coeus/parallel/context/plan/window_trade.h"

namespace coeus {
namespace {

/// Layered work within this share of the mean is even enough.
constexpr double kEvenEnough = 1.02;
/// Windows of each rank and length that a trade is chosen among.
constexpr int64_t kWindows = 12;

using Works = std::vector<int64_t>;  ///< under each mask

/// A rank's tokens, and under each mask the work of those before each.
struct Holding {
  std::vector<int32_t> places;
  std::vector<std::vector<int64_t>> work_before;

  int64_t size() const { return static_cast<int64_t>(places.size()); }
  int64_t work(size_t mask) const { return work_before[mask].back(); }
  int64_t work_of(size_t mask, int64_t begin, int64_t length) const {
    return work_before[mask][begin + length] - work_before[mask][begin];
  }
};

/// `length` tokens from places `begin_a` and `begin_b` of two ranks' tokens, in exchange.
struct Trade {
  int64_t length = 0;
  int64_t begin_a = 0;
  int64_t begin_b = 0;
};

class LayerMarket {
 public:
  LayerMarket(const ContextRow& row, const ContextPlan& plan, int64_t most_work)
      : row_(row), most_work_(most_work) {
    for (const TokenRuns& runs : plan.ranks) {
      const std::vector<int64_t> all = places(runs);
      holdings_.push_back(holding_of({all.begin(), all.end()}));
    }
  }

  void trade() {
    const double mean = static_cast<double>(row_.work()) / static_cast<double>(holdings_.size());
    for (size_t trades = 0; trades < 2 * holdings_.size(); ++trades) {
      if (static_cast<double>(layered()) <= kEvenEnough * mean || !trade_once()) return;
    }
  }

  ContextPlan plan() const {
    ContextPlan plan;
    for (const Holding& holding : holdings_) plan.ranks.push_back(runs_of(holding.places));
    return plan;
  }

 private:
  size_t masks() const { return row_.masks.size(); }

  Holding holding_of(std::vector<int32_t> places) const {
    Holding holding = {std::move(places), {}};
    for (size_t mask = 0; mask < masks(); ++mask) {
      const std::vector<int64_t>& before = row_.mask_work_before[mask];
      std::vector<int64_t> sums(holding.places.size() + 1);
      int64_t sum = 0;
      for (size_t i = 0; i < holding.places.size(); ++i) {
        sum += before[holding.places[i] + 1] - before[holding.places[i]];
        sums[i + 1] = sum;
      }
      holding.work_before.push_back(std::move(sums));
    }
    return holding;
  }

  /// The ranks by their work under a mask, the idlest first.
  std::vector<size_t> by_work(size_t mask) const {
    std::vector<size_t> ranks(holdings_.size());
    std::iota(ranks.begin(), ranks.end(), 0);
    std::stable_sort(ranks.begin(), ranks.end(), [&](size_t a, size_t b) {
      return holdings_[a].work(mask) < holdings_[b].work(mask);
    });
    return ranks;
  }

  int64_t layered() const {
    int64_t sum = 0;
    for (size_t mask = 0; mask < masks(); ++mask) sum += holdings_[by_work(mask).back()].work(mask);
    return sum;
  }

  /// Of the masks the one whose busiest rank is furthest above the mean first.
  std::vector<size_t> masks_by_excess() const {
    std::vector<std::pair<int64_t, size_t>> excess;
    for (size_t mask = 0; mask < masks(); ++mask) {
      int64_t sum = 0, most = 0;
      for (const Holding& holding : holdings_) {
        sum += holding.work(mask);
        most = std::max(most, holding.work(mask));
      }
      excess.emplace_back(sum / static_cast<int64_t>(holdings_.size()) - most, mask);
    }
    std::sort(excess.begin(), excess.end());
    std::vector<size_t> order;
    for (const auto& [negative, mask] : excess) order.push_back(mask);
    return order;
  }

  bool trade_once() {
    constexpr size_t kPartners = 3;
    for (const size_t mask : masks_by_excess()) {
      const std::vector<size_t> ranks = by_work(mask);
      for (size_t i = 0; i < std::min(kPartners, ranks.size() - 1); ++i) {
        const std::optional<Trade> trade = best_trade(ranks.back(), ranks[i]);
        if (!trade) continue;
        exchange(ranks.back(), ranks[i], *trade);
        return true;
      }
    }
    return false;
  }

  /// What two ranks make the others wait for if so much work passed from a to b; too much if one of
  /// them then had more in all than it may.
  int64_t waited_for(const Holding& a, const Holding& b, const Works& passed) const {
    int64_t sum = 0, all_a = 0, all_b = 0;
    for (size_t mask = 0; mask < masks(); ++mask) {
      const int64_t of_a = a.work(mask) - passed[mask];
      const int64_t of_b = b.work(mask) + passed[mask];
      sum += std::max(of_a, of_b);
      all_a += of_a;
      all_b += of_b;
    }
    const int64_t allowed = std::max({most_work_, total(a), total(b)});
    return std::max(all_a, all_b) > allowed ? std::numeric_limits<int64_t>::max() : sum;
  }

  int64_t total(const Holding& holding) const {
    int64_t sum = 0;
    for (size_t mask = 0; mask < masks(); ++mask) sum += holding.work(mask);
    return sum;
  }

  std::optional<Trade> best_trade(size_t rank_a, size_t rank_b) const {
    const Holding& a = holdings_[rank_a];
    const Holding& b = holdings_[rank_b];
    const int64_t longest = std::min(a.size(), b.size());
    const int64_t now = waited_for(a, b, Works(masks(), 0));
    // Trades that gain less than this share of it are not worth another run of tokens.
    int64_t least = now - now / 1000;
    std::optional<Trade> best;
    Works passed(masks());
    for (int64_t length = longest / 2; length >= std::max<int64_t>(1, longest / 64); length /= 2) {
      const int64_t step_a = std::max<int64_t>(1, (a.size() - length) / kWindows);
      const int64_t step_b = std::max<int64_t>(1, (b.size() - length) / kWindows);
      for (int64_t begin_a = 0; begin_a + length <= a.size(); begin_a += step_a)
        for (int64_t begin_b = 0; begin_b + length <= b.size(); begin_b += step_b) {
          for (size_t mask = 0; mask < masks(); ++mask)
            passed[mask] = a.work_of(mask, begin_a, length) - b.work_of(mask, begin_b, length);
          const int64_t waited = waited_for(a, b, passed);
          if (waited >= least) continue;
          least = waited;
          best = Trade{length, begin_a, begin_b};
        }
    }
    return best;
  }

  void exchange(size_t a, size_t b, const Trade& trade) {
    auto [of_a, of_b] = windows_traded(holdings_[a].places, trade.begin_a, holdings_[b].places,
                                       trade.begin_b, trade.length);
    holdings_[a] = holding_of(std::move(of_a));
    holdings_[b] = holding_of(std::move(of_b));
  }

  const ContextRow& row_;
  int64_t most_work_;
  std::vector<Holding> holdings_;
};

}  // namespace

int64_t layered_work(const ContextRow& row, const ContextPlan& plan) {
  int64_t sum = 0;
  for (const std::vector<int64_t>& before : row.mask_work_before) {
    int64_t most = 0;
    for (const TokenRuns& runs : plan.ranks) {
      int64_t work = 0;
      for (const TokenRun& run : runs) work += before[run.end] - before[run.begin];
      most = std::max(most, work);
    }
    sum += most;
  }
  return sum;
}

ContextPlan with_even_layers(const ContextRow& row, const ContextPlan& plan, int64_t most_work) {
  if (row.masks.size() < 2) return plan;
  LayerMarket market(row, plan, most_work);
  market.trade();
  return market.plan();
}

}  // namespace coeus
