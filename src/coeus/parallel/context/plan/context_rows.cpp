#include "coeus/parallel/context/plan/context_rows.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "coeus/base/error.h"
#include "coeus/base/random.h"
#include "coeus/mask/select.h"

namespace coeus {
namespace {

std::vector<int32_t> as_int32(const std::vector<int64_t>& places) {
  return {places.begin(), places.end()};
}

/// For each place of `part`, a subset of `whole`, how many of `whole` come before it.
std::vector<int32_t> positions_in(const TokenRuns& part, const TokenRuns& whole) {
  std::vector<int32_t> positions;
  positions.reserve(count(part));
  int64_t before = 0;
  size_t at = 0;
  for (const TokenRun& run : part) {
    while (whole[at].end <= run.begin) before += whole[at++].size();
    for (int64_t place = run.begin; place < run.end; ++place)
      positions.push_back(static_cast<int32_t>(before + place - whole[at].begin));
  }
  return positions;
}

/// The tokens at `queries` over those at `keys`.
SequenceLayout layout_between(const SequenceLayout& layout, const TokenRuns& queries,
                              const TokenRuns& keys) {
  return SequenceLayout(select(*layout.query(), places(queries)),
                        select(*layout.key(), places(keys)));
}

/// Whether two rows are dealt alike: they have the same documents and masks.
bool are_alike(const ContextRow& a, const ContextRow& b) {
  for (size_t i = 0; i < a.masks.size(); ++i)
    if (a.masks[i].row != b.masks[i].row) return false;
  return a.layout.query() == b.layout.query() ||
         a.layout.query()->document == b.layout.query()->document;
}

}  // namespace

uint64_t ContextRows::hash() const {
  uint64_t hash = plans.size();
  for (const ContextPlan& plan : plans) hash = mix64(hash ^ plan.hash());
  for (const auto& [name, cost] : methods)
    hash = mix64(hash ^ fnv1a64(name) ^ static_cast<uint64_t>(cost.method));
  return hash;
}

ContextRowPlanner::ContextRowPlanner(const ContextOptions& options, LowerMasks lower,
                                     std::map<std::string, int64_t> layers)
    : options_(options), lower_(std::move(lower)), layers_(std::move(layers)) {
  COEUS_CHECK(options.rank >= 0 && options.rank < options.ranks,
              "[ContextRowPlanner] rank {} is not one of {}", options.rank, options.ranks);
}

std::vector<ContextRow> ContextRowPlanner::lower_rows(std::span<const SequenceLayout> rows) const {
  const AttentionMasks masks = lower_(rows);
  std::vector<ContextRow> lowered;
  for (size_t row = 0; row < rows.size(); ++row)
    lowered.push_back(context_row(rows[row], masks, static_cast<int64_t>(row), layers_));
  return lowered;
}

ContextRows ContextRowPlanner::plan(std::vector<ContextRow> rows) const {
  COEUS_CHECK(!rows.empty(), "[ContextRowPlanner] there are no rows to plan");
  ContextRows planned;
  planned.rows = std::move(rows);
  const auto& all = planned.rows;
  BalanceOptions how = {
      .balancer = options_.balancer, .ranks = options_.ranks, .slack = options_.slack};
  if (options_.slack > 0 && options_.balancer == Balancer::kJoint && all.size() > 1) {
    // Rows of a batch have as many tokens on a rank: the costliest decides how many.
    const auto costliest = std::max_element(
        all.begin(), all.end(),
        [](const ContextRow& a, const ContextRow& b) { return a.work() < b.work(); });
    how.counts = balance(*costliest, how).counts();
  }
  for (size_t row = 0; row < all.size(); ++row) {
    COEUS_CHECK(all[row].tokens() == all[0].tokens(),
                "[ContextRowPlanner] row {} has {} tokens and row 0 has {}; rows of a batch are of "
                "one length",
                row, all[row].tokens(), all[0].tokens());
    size_t alike = 0;
    while (alike < row && !are_alike(all[alike], all[row])) ++alike;
    planned.plans.push_back(alike < row ? planned.plans[alike] : balance(all[row], how));
  }
  for (size_t mask = 0; mask < all[0].masks.size(); ++mask)
    planned.methods[all[0].masks[mask].name] =
        options_.method ? cost_of(*options_.method, all, planned.plans, mask, options_.cost)
                        : cheapest_method(all, planned.plans, mask, options_.cost);
  return planned;
}

std::vector<SequenceLayout> ContextRowPlanner::layouts(const ContextRows& rows) const {
  std::vector<SequenceLayout> layouts;
  for (size_t row = 0; row < rows.rows.size(); ++row)
    layouts.push_back(
        select_queries(rows.rows[row].layout, places(rows.plans[row].ranks[options_.rank])));
  return layouts;
}

namespace {

/// The pieces' masks of every row, one call of `lower` for each piece, and what is needed of whom.
class ShardMaker {
 public:
  ShardMaker(const ContextOptions& options, const LowerMasks& lower, const ContextRows& rows,
             size_t mask)
      : options_(options), lower_(lower), rows_(rows), mask_(mask) {}

  std::vector<std::shared_ptr<const ContextShard>> make() {
    const ContextMethod method = rows_.methods.at(name()).method;
    for (const ContextPlan& plan : rows_.plans) {
      auto& shard = shards_.emplace_back(std::make_shared<ContextShard>());
      shard->method = method;
      shard->rank = options_.rank;
      for (const TokenRuns& runs : plan.ranks) shard->places.push_back(as_int32(places(runs)));
    }
    if (method == ContextMethod::kAllToAll) {
      for (size_t row = 0; row < shards_.size(); ++row)
        shards_[row]->pieces.push_back(rows_.rows[row].masks[mask_].row);
    } else if (method == ContextMethod::kRing) {
      for (int64_t rank = 0; rank < options_.ranks; ++rank)
        add_pieces([&](size_t row) { return rows_.plans[row].ranks[rank]; });
    } else if (method == ContextMethod::kNeeded) {
      for (size_t row = 0; row < shards_.size(); ++row) add_needs(row);
    }
    return {shards_.begin(), shards_.end()};
  }

 private:
  const std::string& name() const { return rows_.rows[0].masks[mask_].name; }
  const TokenRuns& own(size_t row) const { return rows_.plans[row].ranks[options_.rank]; }

  /// This rank's queries over the keys of each row that `keys` says; all rows have as many.
  template <class Keys>
  void add_pieces(Keys keys) {
    std::vector<SequenceLayout> layouts;
    for (size_t row = 0; row < shards_.size(); ++row)
      layouts.push_back(layout_between(rows_.rows[row].layout, own(row), keys(row)));
    const BlockMask lowered = lower_(layouts).at(name());
    for (size_t row = 0; row < shards_.size(); ++row)
      shards_[row]->pieces.push_back(lowered.shared_row(static_cast<int64_t>(row)));
  }

  void add_needs(size_t row) {
    const BlockMaskRow& mask = *rows_.rows[row].masks[mask_].row;
    ContextShard& shard = *shards_[row];
    const std::vector<TokenRuns>& ranks = rows_.plans[row].ranks;
    const TokenRuns needed = keys_seen(mask, own(row));
    for (int64_t rank = 0; rank < options_.ranks; ++rank) {
      const TokenRuns& its = rank == options_.rank ? needed : keys_seen(mask, ranks[rank]);
      shard.sent.push_back(positions_in(intersection(its, own(row)), own(row)));
      shard.received.push_back(positions_in(intersection(needed, ranks[rank]), needed));
    }
    const std::vector<SequenceLayout> layout = {
        layout_between(rows_.rows[row].layout, own(row), needed)};
    shard.pieces.push_back(lower_(layout).at(name()).shared_row(0));
  }

  const ContextOptions& options_;
  const LowerMasks& lower_;
  const ContextRows& rows_;
  size_t mask_;
  std::vector<std::shared_ptr<ContextShard>> shards_;
};

}  // namespace

AttentionMasks ContextRowPlanner::masks(const ContextRows& rows) const {
  const AttentionMasks over_all_keys = lower_(layouts(rows));
  AttentionMasks sharded;
  const auto& masks = rows.rows[0].masks;
  for (size_t mask = 0; mask < masks.size(); ++mask)
    sharded.emplace(masks[mask].name,
                    over_all_keys.at(masks[mask].name)
                        .with_shards(ShardMaker(options_, lower_, rows, mask).make()));
  return sharded;
}

}  // namespace coeus
