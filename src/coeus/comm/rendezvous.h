// What ranks make sure of before they work together.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "coeus/comm/listening_socket.h"
#include "coeus/comm/rank_environment.h"

namespace coeus {

/// A socket that listens on MASTER_PORT, for rank 0 to run the job's store on (TCPStoreOptions'
/// masterListenFd): the one that `coeus launch` has opened, or a new one, on 127.0.0.1 alone when
/// all ranks are on one machine. Throws ConfigError when the port is taken.
ListeningSocket store_socket(const RankEnvironment& place);

/// Waits until somebody listens on MASTER_ADDR:MASTER_PORT, on ranks that do not run the store.
/// Throws PeerLostError that says what to look at when nobody has within `timeout`.
void wait_for_store(const RankEnvironment& place, std::chrono::milliseconds timeout);

/// Every rank's text, in the order of ranks; all ranks call it.
using GatherTexts = std::function<std::vector<std::string>(const std::string& own)>;

/// Throws ConfigError on all ranks, with every value that is not everywhere that of rank 0, unless
/// they all have the same `values` (name -> text, such as the configuration's keys).
void check_same_everywhere(const std::map<std::string, std::string>& values,
                           const GatherTexts& gather);

}  // namespace coeus
