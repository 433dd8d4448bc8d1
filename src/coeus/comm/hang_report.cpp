#include "coeus/comm/hang_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace coeus {

namespace {

using States = std::vector<std::optional<RankState>>;
/// A collective by its channel and number, with one rank's view of it.
using Waits = std::map<std::pair<std::string, std::int64_t>, const OpenCollective*>;

constexpr size_t kNamedRanks = 8;

Waits waits_of(const States& states) {
  Waits waits;
  for (const auto& state : states)
    if (state)
      if (const OpenCollective* in = state->waiting())
        waits.emplace(std::pair(in->channel, in->sequence), in);
  return waits;
}

/// Members of a collective that have not begun it; those that did not answer are among them.
std::vector<std::int64_t> ranks_behind(const States& states, const OpenCollective& collective) {
  std::vector<std::int64_t> behind;
  for (const std::int64_t rank : collective.ranks) {
    if (rank < 0 || rank >= static_cast<std::int64_t>(states.size())) continue;
    const auto& state = states[rank];
    const auto begun =
        state ? state->begun.find(collective.channel) : decltype(state->begun.end()){};
    if (!state || begun == state->begun.end() || begun->second < collective.sequence)
      behind.push_back(rank);
  }
  return behind;
}

/// "all_reduce #2 of loss over dp, all_gather #1 of layers.0 over pp and 3 more".
std::string listed(const std::vector<std::string>& collectives) {
  if (collectives.size() == 1) return collectives[0];
  if (collectives.size() == 2) return fmt::format("{} and {}", collectives[0], collectives[1]);
  return fmt::format("{}, {} and {} more", collectives[0], collectives[1], collectives.size() - 2);
}

std::string name_missing(const States& states, const Waits& waits) {
  // Whoever is late for one collective is often late for some of other groups.
  std::map<std::vector<std::int64_t>, std::vector<std::string>> silent_for, busy_for;
  for (const auto& [key, collective] : waits) {
    std::vector<std::int64_t> silent, busy;
    for (const std::int64_t rank : ranks_behind(states, *collective)) {
      if (!states[rank])
        silent.push_back(rank);
      else if (!states[rank]->waiting())
        busy.push_back(rank);
    }
    if (!silent.empty()) silent_for[silent].push_back(collective->name);
    if (!busy.empty()) busy_for[busy].push_back(collective->name);
  }
  std::vector<std::string> causes;
  for (const auto& [ranks, collectives] : silent_for) {
    const bool one = ranks.size() == 1;
    causes.push_back(fmt::format("{} {} not answer, while others wait for {} in {}",
                                 ranks_text(ranks), one ? "does" : "do", one ? "it" : "them",
                                 listed(collectives)));
  }
  for (const auto& [ranks, collectives] : busy_for) {
    const bool one = ranks.size() == 1;
    causes.push_back(fmt::format("{} {} not entered {}, and {} {}", ranks_text(ranks),
                                 one ? "has" : "have", listed(collectives),
                                 one ? "is" : "the first is", states[ranks[0]]->where()));
  }
  if (causes.size() > 3) {
    const size_t more = causes.size() - 3;
    causes.resize(3);
    causes.push_back(fmt::format("{} more such", more));
  }
  return fmt::format("{}", fmt::join(causes, "; "));
}

std::string name_difference(const States& states, const Waits& waits) {
  for (const auto& [key, first] : waits) {
    if (first->ranks.size() == 2 && (first->kind == "send" || first->kind == "receive")) continue;
    for (size_t rank = 0; rank < states.size(); ++rank) {
      if (!states[rank]) continue;
      for (const OpenCollective& other : states[rank]->open) {
        if (other.channel != key.first || other.sequence != key.second) continue;
        const bool alike = other.bytes == first->bytes || first->kind == "all_to_all";
        if (other.kind == first->kind && alike) continue;
        return fmt::format(
            "ranks of one group exchange different things: rank {} is in {} ({} bytes), another in "
            "{} ({} bytes)",
            rank, other.name, other.bytes, first->name, first->bytes);
      }
    }
  }
  return "";
}

std::string name_circle(const States& states) {
  std::vector<std::string> links;
  for (size_t rank = 0; rank < states.size(); ++rank) {
    const OpenCollective* in = states[rank] ? states[rank]->waiting() : nullptr;
    if (!in) continue;
    const std::vector<std::int64_t> behind = ranks_behind(states, *in);
    if (!behind.empty() && links.size() < kNamedRanks)
      links.push_back(fmt::format("rank {} in {} for {}", rank, in->name, ranks_text(behind)));
  }
  if (links.empty()) return "";
  return fmt::format("ranks wait for each other: {}", fmt::join(links, "; "));
}

}  // namespace

std::string ranks_text(const std::vector<std::int64_t>& ranks) {
  if (ranks.size() == 1) return fmt::format("rank {}", ranks[0]);
  const size_t named = std::min(ranks.size(), kNamedRanks);
  const size_t listed = named == ranks.size() ? named - 1 : named;
  std::string text =
      fmt::format("ranks {}", fmt::join(ranks.begin(), ranks.begin() + listed, ", "));
  if (named == ranks.size()) return text + fmt::format(" and {}", ranks.back());
  return text + fmt::format(" and {} more", ranks.size() - named);
}

HangReport explain_hang(const States& states) {
  HangReport report;
  const Waits waits = waits_of(states);
  report.cause = name_missing(states, waits);
  if (report.cause.empty()) report.cause = name_difference(states, waits);
  if (report.cause.empty()) report.cause = name_circle(states);
  if (report.cause.empty() && !waits.empty())
    report.cause = fmt::format("all of its ranks are in {}: what they send does not arrive",
                               waits.begin()->second->name);
  if (report.cause.empty()) report.cause = "no rank waits any more";
  report.table = "  rank  step  where";
  for (size_t rank = 0; rank < states.size(); ++rank) {
    const auto& state = states[rank];
    report.table +=
        fmt::format("\n  {:>4}  {:>4}  {}", rank, state ? fmt::format("{}", state->step) : "?",
                    state ? state->where() : "does not answer");
  }
  return report;
}

}  // namespace coeus
