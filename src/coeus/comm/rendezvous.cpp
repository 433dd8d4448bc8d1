#include "coeus/comm/rendezvous.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "coeus/base/error.h"
#include "coeus/comm/hang_report.h"
#include "coeus/comm/peer_lost_error.h"
#include "coeus/comm/watch/connection.h"

namespace coeus {

namespace {

constexpr size_t kShownDifferences = 40;

using Values = std::map<std::string, std::string>;

std::string value_text(const Values& values, const std::string& name) {
  const auto found = values.find(name);
  return found == values.end() ? "(not there)" : found->second;
}

/// "  seed: 1 on rank 0; 2 on ranks 1 and 3", or "" when all have the same.
std::string difference(const std::vector<Values>& values, const std::string& name) {
  // In the order of the first rank that has it.
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> ranks_of;
  for (size_t rank = 0; rank < values.size(); ++rank) {
    const std::string text = value_text(values[rank], name);
    auto known = ranks_of.begin();
    while (known != ranks_of.end() && known->first != text) ++known;
    if (known == ranks_of.end()) known = ranks_of.insert(known, {text, {}});
    known->second.push_back(static_cast<std::int64_t>(rank));
  }
  if (ranks_of.size() == 1) return "";
  std::vector<std::string> parts;
  for (const auto& [text, ranks] : ranks_of)
    parts.push_back(fmt::format("{} on {}", text, ranks_text(ranks)));
  return fmt::format("\n  {}: {}", name, fmt::join(parts, "; "));
}

}  // namespace

ListeningSocket store_socket(const RankEnvironment& place) {
  COEUS_ASSERT(place.rank == 0 && !place.launcher_has_store);
  if (!place.store_socket)
    return listen_on(place.one_machine() ? Reach::kThisMachine : Reach::kNetwork,
                     place.master_port);
  int listens = 0;
  socklen_t size = sizeof listens;
  const int number = *place.store_socket;
  COEUS_CHECK_CONFIG(
      ::getsockopt(number, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens == 1,
      "[rank environment] COEUS_STORE_SOCKET = {} is no socket that listens: it is set by coeus "
      "launch alone, for rank 0; unset it",
      number);
  return {FileDescriptor(number), place.master_port};
}

void wait_for_store(const RankEnvironment& place, std::chrono::milliseconds timeout) {
  try {
    connect_to(place.master_addr, place.master_port, std::chrono::steady_clock::now() + timeout);
  } catch (const PeerLostError& error) {
    throw PeerLostError(fmt::format(
        "[rank {} of {}] rank 0 has not come within {} s (comm.init_timeout_seconds): {}; look at "
        "rank 0's log, and whether MASTER_ADDR = {} is its machine and lets connections in",
        place.rank, place.world_size, std::chrono::duration<double>(timeout).count(), error.what(),
        place.master_addr));
  }
}

void check_same_everywhere(const Values& values, const GatherTexts& gather) {
  const std::vector<std::string> texts =
      gather(nlohmann::json(values).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  bool same = true;
  for (const std::string& text : texts) same = same && text == texts[0];
  if (same) return;
  std::vector<Values> everybodys;
  std::set<std::string> names;
  for (const std::string& text : texts) {
    everybodys.push_back(nlohmann::json::parse(text).get<Values>());
    for (const auto& [name, value] : everybodys.back()) names.insert(name);
  }
  std::string message = "the ranks were started with different configurations:";
  size_t differences = 0;
  for (const std::string& name : names) {
    const std::string line = difference(everybodys, name);
    if (!line.empty() && ++differences <= kShownDifferences) message += line;
  }
  if (differences > kShownDifferences)
    message += fmt::format("\n  and {} more", differences - kShownDifferences);
  throw ConfigError(message);
}

}  // namespace coeus
