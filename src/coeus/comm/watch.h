// Ranks that look after each other.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "coeus/base/error.h"
#include "coeus/comm/collective_log.h"
#include "coeus/comm/rank_environment.h"

namespace coeus {

/// Why a job ends early, as one of its ranks learns it.
struct Verdict {
  ExitCode code = ExitCode::kPeerLost;  ///< kPeerLost or kHang
  /// One sentence: "rank 2 of 4 (process 81 on node3) is gone: its connection closed; this rank was
  /// at step 7 in all_gather of layers.3 over dp_shard".
  std::string message;
  std::string table;  ///< every rank's last collective, on rank 0 after a hang; else ""
};

struct WatchOptions {
  RankEnvironment place;
  /// How long ranks wait for each other until step 1 is done (comm.init_timeout_seconds) …
  std::chrono::milliseconds init_timeout = std::chrono::seconds(300);
  /// … and after (comm.train_timeout_seconds).
  std::chrono::milliseconds train_timeout = std::chrono::seconds(100);
  /// Gets the collective log as JSON when the job ends early; none if empty.
  std::filesystem::path trace_file = "";
  /// The job's key-value store: publish() on rank 0, lookup() on the others, which waits for the
  /// key and throws when it does not come.
  std::function<void(const std::string& key, const std::string& value)> publish;
  std::function<std::string(const std::string& key)> lookup;
  /// Called in the watch's thread when the job ends early; empty: end_this_rank.
  std::function<void(const Verdict&)> end;
};

/// A thread of each rank that learns within a second when another rank ends, whatever the rank's
/// other threads do, and when a collective lasts too long.
///
/// Every rank holds a connection to rank 0, which tells all what it sees. One that closes without a
/// goodbye is a rank that died. TCP's keep-alive finds a machine that went dark after some 11
/// seconds. A rank that waits in a collective for longer than the limit makes rank 0 ask everybody
/// where they are and name those that are missing; one that does not answer within a second, say
/// because its process is stopped, is named too. What the ranks then do is WatchOptions::end.
///
/// How to use it: make one when the store is there, before any group; call finish() at the end of a
/// run, and fail() where an exception leaves it. It must outlive the groups and end before `log`.
/// A job of one rank has nothing to watch.
class Watch {
 public:
  /// Meets the other ranks. Throws PeerLostError, on all that came, when some have not within
  /// init_timeout, and ConfigError when two say they are the same rank or they differ in the number
  /// of ranks.
  Watch(WatchOptions options, CollectiveLog& log);
  /// Without finish() or fail() the others take this rank for dead.
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// This rank is done. Others may go on: rank 0 returns from here when they are done too, so call
  /// it last.
  void finish();

  /// This rank ends with an error: the others are told, and end too. After PeerLostError this waits
  /// for up to 1.5 seconds for the watch to learn who was lost, which ends the process. So call it
  /// for every error, before the process exits.
  void fail(const std::string& message, ExitCode code);

 private:
  std::unique_ptr<class WatchLoop> loop_;  ///< null in a job of one rank
};

/// Logs a verdict, writes the trace file and ends this process with its exit code at once, without
/// destructors: other threads may be blocked for good. Takes no more than a second.
[[noreturn]] void end_this_rank(const Verdict& verdict, const CollectiveLog& log,
                                const WatchOptions& options);

}  // namespace coeus
