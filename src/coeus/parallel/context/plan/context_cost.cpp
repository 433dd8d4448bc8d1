#include "coeus/parallel/context/plan/context_cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "coeus/base/error.h"

namespace coeus {
namespace {

/// From the one that is preferred where costs are equal.
constexpr std::array kMethods = {ContextMethod::kNeeded, ContextMethod::kAllGather,
                                 ContextMethod::kAllToAll, ContextMethod::kRing};
/// Backward takes five products to forward's two.
constexpr double kBackward = 2.5;

double sum_of(const std::vector<int64_t>& values) {
  return static_cast<double>(std::accumulate(values.begin(), values.end(), int64_t{0}));
}
double most_of(const std::vector<int64_t>& values) {
  return values.empty() ? 0 : static_cast<double>(*std::max_element(values.begin(), values.end()));
}
double over_mean(const std::vector<int64_t>& values) {
  const double sum = sum_of(values);
  return sum == 0 ? 1 : most_of(values) * static_cast<double>(values.size()) / sum;
}

/// What the methods' costs are made of: sums over the rows of a micro-batch.
struct Loads {
  std::vector<int64_t> tokens;  ///< of each rank
  std::vector<int64_t> pairs;   ///< [ranks, ranks], as pairs_by_ranks
  std::vector<int64_t> needed;  ///< tokens whose keys each rank needs from others
  std::vector<int64_t> given;   ///< and gives to them

  int64_t ranks() const { return static_cast<int64_t>(tokens.size()); }
  std::vector<int64_t> pairs_of_queries() const {
    std::vector<int64_t> sums(ranks());
    for (int64_t q = 0; q < ranks(); ++q)
      for (int64_t k = 0; k < ranks(); ++k) sums[q] += pairs[q * ranks() + k];
    return sums;
  }
};

void add(std::vector<int64_t>& sums, const std::vector<int64_t>& values) {
  sums.resize(values.size());
  for (size_t i = 0; i < values.size(); ++i) sums[i] += values[i];
}

Loads loads_of(const std::vector<ContextRow>& rows, const std::vector<ContextPlan>& plans,
               size_t mask) {
  COEUS_CHECK(!rows.empty() && rows.size() == plans.size(),
              "[context cost] {} rows and {} plans; give one plan a row", rows.size(),
              plans.size());
  COEUS_CHECK(mask < rows[0].masks.size(), "[context cost] mask {} is not one of {}", mask,
              rows[0].masks.size());
  Loads loads;
  for (size_t i = 0; i < rows.size(); ++i) {
    add(loads.tokens, plans[i].counts());
    add(loads.pairs, pairs_by_ranks(*rows[i].masks.at(mask).row, plans[i]));
    const LayersMask& of_row = rows[i].masks[mask];
    const ContextRow alone(rows[i].layout, {{of_row.name, of_row.row, 1}});
    const PlanLoad load = load_of(alone, plans[i]);
    add(loads.needed, load.received);
    add(loads.given, load.sent);
  }
  return loads;
}

double compute_seconds(double pairs, const ContextCostModel& model, int64_t heads) {
  return 2 * pairs * static_cast<double>(heads * (model.key_dim + model.value_dim)) /
         model.flops_per_second;
}

/// One exchange and its way back, between two computations.
double exchange_seconds(double bytes, const ContextCostModel& model) {
  return bytes == 0 ? 0 : 2 * (model.seconds_per_exchange + bytes / model.bytes_per_second);
}

MethodCost cost_with_all_keys(ContextMethod method, const Loads& loads,
                              const ContextCostModel& model) {
  MethodCost cost = {.method = method, .imbalance = over_mean(loads.pairs_of_queries())};
  const auto all = static_cast<int64_t>(sum_of(loads.tokens));
  double busiest = 0;
  for (int64_t rank = 0; rank < loads.ranks(); ++rank) {
    const bool gathers = method == ContextMethod::kAllGather;
    const int64_t got = gathers ? all - loads.tokens[rank] : loads.needed[rank];
    const int64_t gave = gathers ? got : loads.given[rank];
    cost.received_bytes.push_back(got * model.key_value_bytes());
    busiest = std::max(busiest, static_cast<double>(std::max(got, gave) * model.key_value_bytes()));
  }
  cost.seconds =
      (1 + kBackward) * compute_seconds(most_of(loads.pairs_of_queries()), model, model.heads) +
      exchange_seconds(busiest, model);
  return cost;
}

MethodCost cost_of_heads(const Loads& loads, const ContextCostModel& model) {
  const std::vector<int64_t> heads = heads_by_rank(model.heads, loads.ranks());
  const int64_t shared = std::max<int64_t>(1, model.heads / std::max<int64_t>(1, model.kv_heads));
  MethodCost cost = {.method = ContextMethod::kAllToAll, .imbalance = over_mean(heads)};
  const auto all = static_cast<int64_t>(sum_of(loads.tokens));
  int64_t first = 0;
  for (int64_t rank = 0; rank < loads.ranks(); first += heads[rank++]) {
    // The key heads that its query heads share, whole.
    const int64_t kv_heads =
        heads[rank] == 0 ? 0 : (first + heads[rank] - 1) / shared - first / shared + 1;
    const int64_t coming =
        heads[rank] * model.key_dim + kv_heads * (model.key_dim + model.value_dim);
    const int64_t returning = (model.heads - heads[rank]) * model.value_dim;
    cost.received_bytes.push_back(
        ((all - loads.tokens[rank]) * coming + loads.tokens[rank] * returning) *
        model.element_size);
  }
  cost.seconds = (1 + kBackward) * compute_seconds(sum_of(loads.pairs), model,
                                                   *std::max_element(heads.begin(), heads.end())) +
                 exchange_seconds(static_cast<double>(cost.most_received_bytes()), model) +
                 2 * model.seconds_per_exchange;
  return cost;
}

MethodCost cost_of_ring(const Loads& loads, const ContextCostModel& model) {
  const int64_t ranks = loads.ranks();
  MethodCost cost = {.method = ContextMethod::kRing,
                     .imbalance = over_mean(loads.pairs_of_queries())};
  const auto all = static_cast<int64_t>(sum_of(loads.tokens));
  for (const int64_t tokens : loads.tokens)
    cost.received_bytes.push_back((all - tokens) * model.key_value_bytes());
  const double tokens = most_of(loads.tokens);
  const double keys = tokens * static_cast<double>(model.key_value_bytes());
  // Gradients go round in float32.
  const double gradients =
      tokens * static_cast<double>(model.kv_heads * (model.key_dim + model.value_dim) * 4);
  for (int64_t step = 0; step < ranks; ++step) {
    int64_t pairs = 0;
    for (int64_t rank = 0; rank < ranks; ++rank)
      pairs = std::max(pairs, loads.pairs[rank * ranks + (rank - step + ranks) % ranks]);
    const double forward = compute_seconds(static_cast<double>(pairs), model, model.heads);
    const auto arrives = [&](double bytes) {
      return model.seconds_per_exchange + bytes / model.bytes_per_second;
    };
    cost.seconds += step + 1 < ranks ? std::max(forward, arrives(keys)) : forward;
    cost.seconds += std::max(kBackward * forward, arrives(keys + gradients));
  }
  return cost;
}

MethodCost cost_of_loads(ContextMethod method, const Loads& loads, const ContextCostModel& model) {
  switch (method) {
    case ContextMethod::kAllGather:
    case ContextMethod::kNeeded:
      return cost_with_all_keys(method, loads, model);
    case ContextMethod::kAllToAll:
      return cost_of_heads(loads, model);
    case ContextMethod::kRing:
      return cost_of_ring(loads, model);
  }
  COEUS_ASSERT(false);
}

/// Counts, for each query, the keys of each rank: whole runs of the plan as differences, those at
/// the ends of what it sees at once.
class PairCounter {
 public:
  explicit PairCounter(const ContextPlan& plan, int64_t tokens) : run_of_(tokens) {
    for (int64_t rank = 0; rank < plan.rank_count(); ++rank)
      for (const TokenRun& run : plan.ranks[rank]) runs_.push_back({run, rank});
    std::sort(runs_.begin(), runs_.end(),
              [](const Owned& a, const Owned& b) { return a.run.begin < b.run.begin; });
    for (size_t i = 0; i < runs_.size(); ++i)
      for (int64_t place = runs_[i].run.begin; place < runs_[i].run.end; ++place)
        run_of_[place] = static_cast<int32_t>(i);
    partial_.resize(runs_.size());
    whole_.resize(runs_.size() + 1);
  }

  void add_keys(int64_t begin, int64_t end) {
    if (begin >= end) return;
    const int32_t first = run_of_[begin], last = run_of_[end - 1];
    if (first == last) {
      partial_[first] += end - begin;
      return;
    }
    partial_[first] += runs_[first].run.end - begin;
    partial_[last] += end - runs_[last].run.begin;
    ++whole_[first + 1];
    --whole_[last];
  }

  /// What was added since the last call, by rank.
  void take(int64_t* by_rank) {
    int64_t queries = 0;
    for (size_t i = 0; i < runs_.size(); ++i) {
      queries += whole_[i];
      by_rank[runs_[i].rank] += partial_[i] + queries * runs_[i].run.size();
    }
    std::fill(partial_.begin(), partial_.end(), 0);
    std::fill(whole_.begin(), whole_.end(), 0);
  }

 private:
  struct Owned {
    TokenRun run;
    int64_t rank;
  };
  std::vector<Owned> runs_;
  std::vector<int32_t> run_of_;
  std::vector<int64_t> partial_;
  std::vector<int64_t> whole_;
};

}  // namespace

ContextMethod context_method_from_name(std::string_view name) {
  for (const ContextMethod method : kMethods)
    if (name == name_of(method)) return method;
  throw ConfigError(
      fmt::format("parallelism.context_parallel_method = \"{}\" is not a method; use auto, "
                  "allgather, ring, alltoall or needed",
                  name));
}

std::string_view name_of(ContextMethod method) {
  switch (method) {
    case ContextMethod::kAllGather:
      return "allgather";
    case ContextMethod::kRing:
      return "ring";
    case ContextMethod::kAllToAll:
      return "alltoall";
    case ContextMethod::kNeeded:
      return "needed";
  }
  return "";
}

std::vector<int64_t> heads_by_rank(int64_t heads, int64_t ranks) {
  return even_counts(heads, ranks);
}

int64_t MethodCost::most_received_bytes() const {
  return received_bytes.empty() ? 0
                                : *std::max_element(received_bytes.begin(), received_bytes.end());
}

std::vector<int64_t> pairs_by_ranks(const BlockMaskRow& mask, const ContextPlan& plan) {
  const int64_t ranks = plan.rank_count();
  std::vector<int64_t> pairs(ranks * ranks);
  PairCounter counter(plan, mask.key_length);
  for (int64_t rank = 0; rank < ranks; ++rank) {
    for (const TokenRun& run : plan.ranks[rank]) {
      for (int64_t q = run.begin; q < run.end; ++q) {
        if (mask.interval_count > 0 && mask.key_ranks.empty()) {
          for (int64_t at = q; at < mask.interval_count * mask.query_length;
               at += mask.query_length)
            counter.add_keys(mask.interval_begin[at], mask.interval_end[at]);
        } else {
          for (const TokenRun& seen : keys_seen(mask, {{q, q + 1}}))
            counter.add_keys(seen.begin, seen.end);
        }
      }
    }
    counter.take(pairs.data() + rank * ranks);
  }
  return pairs;
}

MethodCost cost_of(ContextMethod method, const std::vector<ContextRow>& rows,
                   const std::vector<ContextPlan>& plans, size_t mask,
                   const ContextCostModel& model) {
  return cost_of_loads(method, loads_of(rows, plans, mask), model);
}

MethodCost cheapest_method(const std::vector<ContextRow>& rows,
                           const std::vector<ContextPlan>& plans, size_t mask,
                           const ContextCostModel& model) {
  const Loads loads = loads_of(rows, plans, mask);
  MethodCost best;
  for (const ContextMethod method : kMethods) {
    MethodCost cost = cost_of_loads(method, loads, model);
    if (method == kMethods.front() || cost.seconds < best.seconds) best = std::move(cost);
  }
  return best;
}

}  // namespace coeus
