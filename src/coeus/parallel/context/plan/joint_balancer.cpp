#include "coeus/parallel/context/plan/joint_balancer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "coeus/base/error.h"
#include "coeus/parallel/context/plan/even_layers.h"
#include "coeus/parallel/context/plan/window_trade.h"

namespace coeus {
namespace {

/// Work within this share of the mean is even enough: what is exchanged then decides.
constexpr double kEvenEnough = 1.01;
/// And so is layered work within this share of the least.
constexpr double kEvenLayers = 1.02;
/// Ranks trade windows of their tokens over these, or longer.
constexpr int64_t kPartsOfAShare[] = {64, 8, 2};

/// A rank's tokens, and the work of those before each.
struct Holding {
  std::vector<int32_t> places;
  std::vector<int64_t> work_before;

  int64_t size() const { return static_cast<int64_t>(places.size()); }
  int64_t work() const { return work_before.back(); }
  int64_t work_of(int64_t begin, int64_t length) const {
    return work_before[begin + length] - work_before[begin];
  }
};

/// `length` tokens of a rank that follow one another there.
struct Window {
  int64_t begin = 0;
  int64_t work = 0;
};

/// The window of this length whose `distance` of its work is least, of those that begin a small
/// share of the length apart: a later, shorter trade makes up for what lies between.
template <class Distance>
Window nearest_window(const Holding& holding, int64_t length, Distance distance) {
  const int64_t step = std::max<int64_t>(1, length / 32);
  Window best = {0, holding.work_of(0, length)};
  int64_t least = distance(best.work);
  for (int64_t begin = step; begin + length <= holding.size(); begin += step) {
    const int64_t work = holding.work_of(begin, length);
    const int64_t its = distance(work);
    if (its < least) {
      least = its;
      best = {begin, work};
    }
  }
  return best;
}

/// Ranks that trade windows of equally many tokens.
class Market {
 public:
  Market(const ContextRow& row, const ContextPlan& plan) : row_(row) {
    for (const TokenRuns& runs : plan.ranks) {
      std::vector<int32_t> places(count(runs));
      auto to = places.begin();
      for (const TokenRun& run : runs) {
        std::iota(to, to + run.size(), static_cast<int32_t>(run.begin));
        to += run.size();
      }
      holdings_.push_back(holding_of(std::move(places)));
    }
    mean_ = row.work() / static_cast<int64_t>(holdings_.size());
  }

  /// Trades until no rank has more work than `target`, or nobody finds a trade that helps. Windows
  /// are of `shortest` tokens or longer.
  void trade(int64_t target, int64_t shortest) {
    for (size_t trades = 0; trades < 4 * holdings_.size(); ++trades) {
      const std::vector<int64_t> busiest_last = ranks_by_work();
      const int64_t busiest = busiest_last.back();
      if (holdings_[busiest].work() <= target) return;
      const bool traded = std::any_of(busiest_last.begin(), busiest_last.end() - 1, [&](int64_t r) {
        return trade_between(busiest, r, shortest);
      });
      if (!traded) return;
    }
  }

  ContextPlan plan() const {
    ContextPlan plan;
    for (const Holding& holding : holdings_) plan.ranks.push_back(runs_of(holding.places));
    return plan;
  }

 private:
  Holding holding_of(std::vector<int32_t> places) const {
    Holding holding = {std::move(places), {}};
    holding.work_before.resize(holding.places.size() + 1);
    int64_t work = 0;
    for (size_t i = 0; i < holding.places.size(); ++i) {
      const int32_t place = holding.places[i];
      work += row_.work_before[place + 1] - row_.work_before[place];
      holding.work_before[i + 1] = work;
    }
    return holding;
  }

  std::vector<int64_t> ranks_by_work() const {
    std::vector<int64_t> ranks(holdings_.size());
    std::iota(ranks.begin(), ranks.end(), 0);
    std::stable_sort(ranks.begin(), ranks.end(), [&](int64_t a, int64_t b) {
      return holdings_[a].work() < holdings_[b].work();
    });
    return ranks;
  }

  /// `busy` gives a window of dear tokens for one of `idle`'s cheap ones, so that one of the two
  /// comes out even; false, and nothing done, where that would not lower the work of `busy` or
  /// only shift it.
  bool trade_between(int64_t busy, int64_t idle, int64_t shortest) {
    const Holding& from = holdings_[busy];
    const Holding& to = holdings_[idle];
    const int64_t wanted = std::min(from.work() - mean_, mean_ - to.work());
    if (wanted <= 0) return false;
    const int64_t longest = std::min(from.size(), to.size());
    int64_t length = std::clamp<int64_t>(shortest, 1, longest);
    Window dear, cheap;
    while (true) {
      dear = nearest_window(from, length, [](int64_t work) { return -work; });
      cheap = nearest_window(to, length, [](int64_t work) { return work; });
      if (dear.work - cheap.work >= wanted || length == longest) break;
      length = std::min(2 * length, longest);
    }
    if (dear.work - cheap.work > wanted) {
      const int64_t aim = cheap.work + wanted;
      dear = nearest_window(from, length, [aim](int64_t work) { return std::abs(work - aim); });
    }
    const int64_t gain = dear.work - cheap.work;
    if (gain <= 0 || to.work() + gain >= from.work()) return false;
    exchange(busy, dear.begin, idle, cheap.begin, length);
    return true;
  }

  void exchange(int64_t a, int64_t begin_a, int64_t b, int64_t begin_b, int64_t length) {
    auto [of_a, of_b] =
        windows_traded(holdings_[a].places, begin_a, holdings_[b].places, begin_b, length);
    holdings_[a] = holding_of(std::move(of_a));
    holdings_[b] = holding_of(std::move(of_b));
  }

  const ContextRow& row_;
  std::vector<Holding> holdings_;
  int64_t mean_ = 0;
};

/// The pieces cut where the work would be even, as far as the counts may differ.
ContextPlan pieces_of_even_work(const ContextRow& row, int64_t ranks, double slack) {
  const double mean = static_cast<double>(row.tokens()) / static_cast<double>(ranks);
  const auto fewest = std::max<int64_t>(
      1, static_cast<int64_t>(std::min(std::floor(mean), std::ceil(mean * (1 - slack)))));
  const auto most = static_cast<int64_t>(std::max(std::ceil(mean), std::floor(mean * (1 + slack))));
  if (most - fewest <= 1) return pieces_of(even_counts(row.tokens(), ranks));
  std::vector<int64_t> counts;
  int64_t begin = 0;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const double aim = static_cast<double>(row.work()) * static_cast<double>(rank + 1) /
                       static_cast<double>(ranks);
    const int64_t even = std::lower_bound(row.work_before.begin(), row.work_before.end(),
                                          static_cast<int64_t>(aim)) -
                         row.work_before.begin();
    // No more and no fewer than this rank may have, nor than the others can take.
    const int64_t others = ranks - 1 - rank;
    const int64_t end = std::clamp(even, std::max(begin + fewest, row.tokens() - others * most),
                                   std::min(begin + most, row.tokens() - others * fewest));
    counts.push_back(end - begin);
    begin = end;
  }
  return pieces_of(counts);
}

int64_t most_work(const ContextRow& row, const ContextPlan& plan) {
  const std::vector<int64_t> work = work_by_rank(row, plan);
  return *std::max_element(work.begin(), work.end());
}

}  // namespace

ContextPlan balance_jointly(const ContextRow& row, const BalanceOptions& options,
                            const std::vector<ContextPlan>& others) {
  const int64_t ranks = options.ranks;
  const std::vector<int64_t> even = even_counts(row.tokens(), ranks);
  const auto enough = static_cast<int64_t>(kEvenEnough * static_cast<double>(row.work()) /
                                           static_cast<double>(ranks));
  std::vector<ContextPlan> candidates;
  int64_t limit = std::numeric_limits<int64_t>::max();
  if (!options.counts || *options.counts == even) {
    for (const ContextPlan& other : others) {
      candidates.push_back(other);
      limit = std::min(limit, most_work(row, other));
    }
  }
  const ContextPlan start =
      options.counts ? pieces_of(*options.counts) : pieces_of_even_work(row, ranks, options.slack);
  // Short windows move few tokens; longer ones may take whole documents along, which spares more
  // exchange than it moves.
  const int64_t share = std::max<int64_t>(1, row.tokens() / ranks);
  const Market opening(row, start);
  for (const int64_t parts : kPartsOfAShare) {
    Market market = opening;
    const int64_t target = std::min(limit, enough);
    market.trade(target, std::max<int64_t>(1, share / parts));
    market.trade(target, 1);
    ContextPlan plan = market.plan();
    if (parts == kPartsOfAShare[0]) candidates.push_back(with_even_layers(row, plan, target));
    if (std::find(candidates.begin(), candidates.end(), plan) == candidates.end())
      candidates.push_back(std::move(plan));
  }

  std::vector<int64_t> work;
  for (const ContextPlan& plan : candidates) work.push_back(most_work(row, plan));
  const int64_t bound =
      std::min(limit, std::max(enough, *std::min_element(work.begin(), work.end())));
  int64_t least_layered = std::numeric_limits<int64_t>::max();
  std::vector<int64_t> layered;
  for (size_t i = 0; i < candidates.size(); ++i) {
    layered.push_back(layered_work(row, candidates[i]));
    if (work[i] <= bound) least_layered = std::min(least_layered, layered[i]);
  }
  const auto layered_bound =
      std::max(enough, static_cast<int64_t>(kEvenLayers * static_cast<double>(least_layered)));
  size_t best = candidates.size();
  int64_t fewest = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (work[i] > bound || layered[i] > layered_bound) continue;
    const int64_t exchanged = load_of(row, candidates[i]).all_received();
    if (best < candidates.size() &&
        (exchanged > fewest || (exchanged == fewest && work[i] >= work[best])))
      continue;
    best = i;
    fewest = exchanged;
  }
  COEUS_ASSERT(best < candidates.size());
  return candidates[best];
}

}  // namespace coeus
