#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace coeus {

/// Which ranks' output the launcher passes on.
struct ShownRanks {
  bool all = false;
  std::vector<std::int64_t> ranks = {0};

  bool contains(std::int64_t rank) const;
};

/// Reads "all", or numbers with commas: "0,3". Throws ConfigError for anything else.
ShownRanks parse_shown_ranks(const std::string& text);

/// A job as `coeus launch` is told to start it.
struct LaunchOptions {
  std::int64_t ranks = 1;  ///< on this machine, and on every other
  std::int64_t nodes = 1;
  std::int64_t node_rank = 0;
  std::string master_addr = "";  ///< of node 0; needed for several, of no use to one
  int master_port = 0;           ///< 0: any free one on one machine, 29500 on several
  ShownRanks shown;
  std::filesystem::path log_folder = "";  ///< gets rank0.log and so on; none if empty
  std::vector<std::string> command;       ///< a program's path and its arguments
  /// How long the others have to end by themselves once a rank has failed, and then again once they
  /// were told to by SIGTERM.
  std::chrono::milliseconds notice = std::chrono::seconds(5);
  /// Where lines go: standard output and error.
  int output = 1;
  int errors = 2;

  std::int64_t world_size() const { return ranks * nodes; }
};

/// Throws ConfigError for what cannot be.
void check(const LaunchOptions& options);

}  // namespace coeus
