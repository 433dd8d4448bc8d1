// The thread of a watch: what rank 0's and the others' have in common.
#pragma once

#include <poll.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "coeus/comm/watch.h"
#include "coeus/comm/watch/connection.h"

namespace coeus {

/// How a rank takes its leave.
struct Goodbye {
  ExitCode code = ExitCode::kDone;
  std::string message = "";  ///< of the error, when it is one
};

/// Why all ranks are to end, as rank 0 tells them.
struct JobEnd {
  ExitCode code = ExitCode::kPeerLost;
  std::string reason;
  std::string table = "";
  /// A rank ended by an error of its own, which others may be about to find too.
  bool by_error = false;
};

class WatchLoop {
 public:
  using Clock = std::chrono::steady_clock;
  WatchLoop(WatchOptions options, CollectiveLog& log);
  virtual ~WatchLoop();

  /// Starts the thread; the constructor of a derived class has met the other ranks.
  void start();
  /// Ends the thread; derived destructors call it first.
  void stop();
  void leave(const Goodbye& goodbye);

 protected:
  static constexpr std::chrono::milliseconds kAnswerTime{1000};  ///< for ranks asked where they are
  static constexpr std::chrono::milliseconds kSendTime{500};     ///< for a last message
  static constexpr std::size_t kLongestMessage = 64 << 20;

  virtual void add_descriptors(std::vector<pollfd>& descriptors) = 0;
  /// Reads and writes what can be; all connections, whichever is ready.
  virtual void exchange() = 0;
  /// Every 100 ms or sooner.
  virtual void tick(Clock::time_point now) = 0;
  /// This rank has waited in a collective for longer than `limit`.
  virtual void waited_too_long(Clock::duration limit) = 0;
  /// Tells the others that this rank leaves.
  virtual void say(const Goodbye& goodbye) = 0;
  /// Nothing keeps this rank any more.
  virtual bool may_leave() = 0;

  /// Ends this rank for `end`'s reason, unless it is about to end by an error of its own. Once.
  void conclude(const JobEnd& end);
  bool concluded() const { return concluded_; }
  bool has_left() const { return said_.has_value(); }
  Clock::duration limit() const;
  /// "rank 2 of 4".
  std::string name_of(std::int64_t rank) const;

  const WatchOptions options_;
  CollectiveLog& log_;

 private:
  void run();
  void check_wait(Clock::time_point now);

  FileDescriptor wake_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Goodbye> goodbye_;  ///< what the rank's own thread wants to leave with
  bool stop_ = false;
  bool over_ = false;  ///< the thread has nothing left to do
  // The thread's own.
  bool concluded_ = false;
  std::optional<Goodbye> said_;
  bool told_ = false;
  Clock::time_point last_look_ = Clock::now();
  Clock::time_point counted_from_{};
};

/// On ranks above 0: one connection, to rank 0.
std::unique_ptr<WatchLoop> meet_rank_zero(const WatchOptions& options, CollectiveLog& log);
/// On rank 0: a connection to everybody.
std::unique_ptr<WatchLoop> meet_all_ranks(const WatchOptions& options, CollectiveLog& log);

/// The key under which rank 0 publishes where it listens.
std::string watch_key(const RankEnvironment& place);

}  // namespace coeus
