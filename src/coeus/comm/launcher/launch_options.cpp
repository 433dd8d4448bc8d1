#include "coeus/comm/launcher/launch_options.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "coeus/base/error.h"

namespace coeus {

bool ShownRanks::contains(std::int64_t rank) const {
  return all || std::find(ranks.begin(), ranks.end(), rank) != ranks.end();
}

ShownRanks parse_shown_ranks(const std::string& text) {
  if (text == "all") return {.all = true, .ranks = {}};
  ShownRanks shown{.ranks = {}};
  std::string_view rest = text;
  while (true) {
    const std::string_view item = rest.substr(0, rest.find(','));
    std::int64_t rank = 0;
    const char* end = item.data() + item.size();
    const auto [stop, error] = std::from_chars(item.data(), end, rank);
    COEUS_CHECK_CONFIG(error == std::errc() && stop == end && rank >= 0,
                       "[coeus launch] --log-rank takes \"all\" or ranks with commas (\"0,3\"), "
                       "got \"{}\"",
                       text);
    shown.ranks.push_back(rank);
    if (item.size() == rest.size()) return shown;
    rest.remove_prefix(item.size() + 1);
  }
}

void check(const LaunchOptions& options) {
  COEUS_CHECK_CONFIG(options.ranks >= 1, "[coeus launch] -n must be at least 1, got {}",
                     options.ranks);
  COEUS_CHECK_CONFIG(options.nodes >= 1, "[coeus launch] --nnodes must be at least 1, got {}",
                     options.nodes);
  COEUS_CHECK_CONFIG(options.node_rank >= 0 && options.node_rank < options.nodes,
                     "[coeus launch] --node-rank must be from 0 to {} with --nnodes {}, got {}",
                     options.nodes - 1, options.nodes, options.node_rank);
  COEUS_CHECK_CONFIG(options.nodes == 1 || !options.master_addr.empty(),
                     "[coeus launch] --nnodes {} needs --master-addr: a name or address of the "
                     "machine with --node-rank 0 that all others reach",
                     options.nodes);
  COEUS_CHECK_CONFIG(options.master_port >= 0 && options.master_port <= 65535,
                     "[coeus launch] --master-port must be from 1 to 65535, got {}",
                     options.master_port);
  for (const std::int64_t rank : options.shown.ranks)
    COEUS_CHECK_CONFIG(rank < options.world_size(),
                       "[coeus launch] --log-rank {}: the job has the ranks 0 to {}", rank,
                       options.world_size() - 1);
  COEUS_CHECK_CONFIG(!options.command.empty(),
                     "[coeus launch] nothing to start: coeus launch -n 2 train CONFIG.toml");
}

}  // namespace coeus
