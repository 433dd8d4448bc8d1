#include "coeus/parallel/context/plan/balancer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "coeus/base/error.h"
#include "coeus/parallel/context/plan/joint_balancer.h"

namespace coeus {
namespace {

constexpr std::array kBalancers = {Balancer::kNone, Balancer::kHeadTail, Balancer::kPerDocument,
                                   Balancer::kPtrr, Balancer::kJoint};

/// Deals [begin, begin + the sum of counts): each rank a chunk from the front, rank after rank, and
/// one from the back, the other way round.
void deal_heads_and_tails(int64_t begin, const std::vector<int64_t>& counts,
                          std::vector<std::vector<TokenRun>>& dealt) {
  const auto ranks = static_cast<int64_t>(counts.size());
  const auto deal = [&](int64_t rank, int64_t size) {
    dealt[rank].push_back({begin, begin + size});
    begin += size;
  };
  for (int64_t rank = 0; rank < ranks; ++rank) deal(rank, (counts[rank] + 1) / 2);
  for (int64_t rank = ranks; rank-- > 0;) deal(rank, counts[rank] / 2);
}

ContextPlan plan_of(std::vector<std::vector<TokenRun>> dealt) {
  ContextPlan plan;
  for (auto& runs : dealt) plan.ranks.push_back(united(std::move(runs)));
  return plan;
}

ContextPlan head_tail(int64_t tokens, int64_t ranks) {
  std::vector<std::vector<TokenRun>> dealt(ranks);
  deal_heads_and_tails(0, even_counts(tokens, ranks), dealt);
  return plan_of(std::move(dealt));
}

ContextPlan per_document(const TokenAttributes& tokens, int64_t ranks) {
  std::vector<std::vector<TokenRun>> dealt(ranks);
  // What a document leaves over goes to the ranks that are due next, so that all have as many
  // tokens in the end.
  int64_t due = 0;
  for (int64_t begin = 0; begin < tokens.size();) {
    int64_t end = begin + 1;
    while (end < tokens.size() && tokens.document[end] == tokens.document[begin]) ++end;
    std::vector<int64_t> counts(ranks, (end - begin) / ranks);
    const int64_t over = (end - begin) % ranks;
    for (int64_t i = 0; i < over; ++i) ++counts[(due + i) % ranks];
    due = (due + over) % ranks;
    deal_heads_and_tails(begin, counts, dealt);
    begin = end;
  }
  return plan_of(std::move(dealt));
}

/// Blocks of PyTorch's size; smaller ones in a row that would leave ranks without two of them.
int64_t block_size(int64_t tokens, int64_t ranks) {
  return std::clamp<int64_t>(tokens / (2 * ranks), 1, 128);
}

/// How many blocks of keys each block of queries sees something of.
std::vector<int64_t> blocks_seen(const BlockMaskRow& row, int64_t size) {
  std::vector<int64_t> seen;
  for (int64_t begin = 0; begin < row.query_length; begin += size) {
    const TokenRuns keys = keys_seen(row, {{begin, std::min(begin + size, row.query_length)}});
    int64_t blocks = 0, after = 0;  // `after`: the block behind the last that was counted
    for (const TokenRun& run : keys) {
      const int64_t first = std::max(after, run.begin / size);
      after = std::max(after, (run.end + size - 1) / size);
      blocks += after - first;
    }
    seen.push_back(blocks);
  }
  return seen;
}

ContextPlan ptrr(const ContextRow& row, int64_t ranks) {
  const int64_t size = block_size(row.tokens(), ranks);
  const std::vector<int64_t> seen = blocks_seen(*row.main_mask().row, size);
  std::vector<int64_t> order(seen.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return seen[a] > seen[b]; });
  std::vector<std::vector<TokenRun>> dealt(ranks);
  std::vector<int64_t> room = even_counts(row.tokens(), ranks);
  int64_t turn = 0;
  for (const int64_t block : order) {
    int64_t begin = block * size;
    const int64_t end = std::min(begin + size, row.tokens());
    // A block that does not fit is shared with those whose turn is next.
    while (begin < end) {
      const int64_t place = turn % ranks;
      const int64_t rank = turn / ranks % 2 == 0 ? place : ranks - 1 - place;
      const int64_t taken = std::min(room[rank], end - begin);
      dealt[rank].push_back({begin, begin + taken});
      room[rank] -= taken;
      begin += taken;
      ++turn;
    }
  }
  return plan_of(std::move(dealt));
}

ContextPlan balance_by(Balancer balancer, const ContextRow& row, int64_t ranks) {
  switch (balancer) {
    case Balancer::kNone:
      return pieces_of(even_counts(row.tokens(), ranks));
    case Balancer::kHeadTail:
      return head_tail(row.tokens(), ranks);
    case Balancer::kPerDocument:
      return per_document(*row.layout.query(), ranks);
    case Balancer::kPtrr:
      return row.masks.empty() ? pieces_of(even_counts(row.tokens(), ranks)) : ptrr(row, ranks);
    case Balancer::kJoint:
      break;
  }
  COEUS_ASSERT(false);
}

}  // namespace

Balancer balancer_from_name(std::string_view name) {
  for (const Balancer balancer : kBalancers)
    if (name == name_of(balancer)) return balancer;
  throw ConfigError(
      fmt::format("parallelism.context_parallel_load_balancer = \"{}\" is not a balancer; use "
                  "none, headtail, per_document, ptrr or joint",
                  name));
}

std::string_view name_of(Balancer balancer) {
  switch (balancer) {
    case Balancer::kNone:
      return "none";
    case Balancer::kHeadTail:
      return "headtail";
    case Balancer::kPerDocument:
      return "per_document";
    case Balancer::kPtrr:
      return "ptrr";
    case Balancer::kJoint:
      return "joint";
  }
  return "";
}

ContextPlan balance(const ContextRow& row, const BalanceOptions& options) {
  const int64_t ranks = options.ranks;
  COEUS_CHECK(ranks >= 1, "[balance] there must be at least one rank, got {}", ranks);
  COEUS_CHECK(options.slack >= 0 && options.slack < 1,
              "[balance] slack must be from 0 to below 1, got {}", options.slack);
  COEUS_CHECK(options.balancer == Balancer::kJoint || (options.slack == 0 && !options.counts),
              "[balance] slack and counts are for the balancer joint; {} deals equal shares",
              name_of(options.balancer));
  COEUS_CHECK_CONFIG(row.tokens() >= ranks,
                     "parallelism.context_parallel_degree = {}: a row has only {} tokens, which "
                     "leaves ranks without any; take a lower degree or longer rows",
                     ranks, row.tokens());
  if (options.counts) {
    const auto& counts = *options.counts;
    COEUS_CHECK(static_cast<int64_t>(counts.size()) == ranks &&
                    std::accumulate(counts.begin(), counts.end(), int64_t{0}) == row.tokens() &&
                    *std::min_element(counts.begin(), counts.end()) >= 1,
                "[balance] counts of {} tokens do not deal {} tokens to {} ranks",
                fmt::join(counts, ", "), row.tokens(), ranks);
  }
  if (options.balancer != Balancer::kJoint) return balance_by(options.balancer, row, ranks);
  std::vector<ContextPlan> others;
  for (const Balancer balancer : kBalancers)
    if (balancer != Balancer::kJoint) others.push_back(balance_by(balancer, row, ranks));
  return balance_jointly(row, options, others);
}

}  // namespace coeus
