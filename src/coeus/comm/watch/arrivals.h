// How rank 0 meets the others.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coeus/comm/watch/connection.h"
#include "coeus/comm/watch/loop.h"

namespace coeus {

/// A rank above 0, as rank 0 knows it.
struct Other {
  std::int64_t rank = 0;
  std::string process;  ///< "process 81 on node3"
  Connection connection;
  std::optional<Goodbye> goodbye = std::nullopt;
};

/// Publishes where rank 0 listens and waits until every other rank has come; returns them in their
/// order. When one has not in time, or two do not fit together, all that came are told, and this
/// throws PeerLostError or ConfigError. A connection that does not know the published token is
/// nobody's.
std::vector<Other> await_all_ranks(const WatchOptions& options);

}  // namespace coeus
