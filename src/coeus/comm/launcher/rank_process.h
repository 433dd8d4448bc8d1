// One rank as a child process of the launcher.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coeus/comm/listening_socket.h"

namespace coeus {

/// A child in a process group of its own, so that a terminal's Ctrl-C reaches it once, through the
/// launcher. It is killed when the launcher dies, however that happens.
struct RankProcess {
  std::int64_t rank = 0;
  pid_t id = 0;
  FileDescriptor output;  ///< what the launcher reads of its standard output
  FileDescriptor errors;  ///< … and of its standard error
};

/// What a child gets beside the launcher's own environment and nothing on standard input.
struct RankStart {
  std::int64_t rank = 0;
  std::vector<std::string> command;  ///< the program's path, and its arguments
  std::map<std::string, std::string> set;
  std::vector<std::string> unset;
  int inherited = -1;  ///< a descriptor that stays open in the child; -1 for none
};

/// Starts it. Throws Error when the system cannot, or there is no such program.
RankProcess start_rank(const RankStart& start);

/// Sends a signal to a rank and all that it started.
void signal_rank(const RankProcess& process, int signal);

}  // namespace coeus
