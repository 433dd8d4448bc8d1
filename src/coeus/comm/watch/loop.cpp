#include "coeus/comm/watch/loop.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "coeus/comm/peer_lost_error.h"

namespace coeus {

namespace {

constexpr std::chrono::milliseconds kTick{100};
/// A thread that comes so late was stopped, or the machine slept: no time in which others could
/// have come.
constexpr std::chrono::seconds kFrozen{2};
/// For the watch to learn who is lost, after an exchange has failed.
constexpr std::chrono::milliseconds kLossNews{1500};
/// For a rank's own error, after another has ended by one.
constexpr std::chrono::milliseconds kOwnError{500};

}  // namespace

WatchLoop::WatchLoop(WatchOptions options, CollectiveLog& log)
    : options_(std::move(options)), log_(log), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  COEUS_CHECK(wake_.is_open(), "[Watch] cannot make an eventfd: {}", std::strerror(errno));
}

WatchLoop::~WatchLoop() { stop(); }

void WatchLoop::start() {
  // Signals are for the rank's own threads.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void WatchLoop::stop() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  ::eventfd_write(wake_.number(), 1);
  thread_.join();
}

void WatchLoop::leave(const Goodbye& goodbye) {
  std::unique_lock lock(mutex_);
  if (goodbye.code == ExitCode::kPeerLost &&
      changed_.wait_for(lock, kLossNews, [this] { return over_; }))
    return;
  goodbye_ = goodbye;
  changed_.notify_all();
  ::eventfd_write(wake_.number(), 1);
  changed_.wait(lock, [this] { return over_; });
}

void WatchLoop::run() {
  while (!concluded_) {
    std::vector<pollfd> descriptors = {{wake_.number(), POLLIN, 0}};
    add_descriptors(descriptors);
    ::poll(descriptors.data(), descriptors.size(), kTick.count());
    eventfd_t ignored;
    ::eventfd_read(wake_.number(), &ignored);
    exchange();
    if (concluded_) break;
    {
      const std::lock_guard lock(mutex_);
      if (stop_) break;
      if (said_) {
        if (may_leave()) break;
      } else if (goodbye_) {
        said_ = goodbye_;
      }
    }
    if (said_ && !told_) {
      told_ = true;
      say(*said_);
      if (may_leave()) break;
    }
    const Clock::time_point now = Clock::now();
    tick(now);
    if (!said_ && !concluded_) check_wait(now);
  }
  const std::lock_guard lock(mutex_);
  over_ = true;
  changed_.notify_all();
}

void WatchLoop::check_wait(Clock::time_point now) {
  if (now - last_look_ > kFrozen) counted_from_ = now;
  last_look_ = now;
  if (log_.longest_wait(counted_from_) > limit()) waited_too_long(limit());
}

WatchLoop::Clock::duration WatchLoop::limit() const {
  return log_.steps_begun() > 1 ? options_.train_timeout : options_.init_timeout;
}

std::string WatchLoop::name_of(std::int64_t rank) const {
  return fmt::format("rank {} of {}", rank, options_.place.world_size);
}

void WatchLoop::conclude(const JobEnd& end) {
  if (concluded_) return;
  concluded_ = true;
  {
    std::unique_lock lock(mutex_);
    const auto has_own_error = [this] {
      return goodbye_ && goodbye_->code != ExitCode::kDone && goodbye_->code != ExitCode::kPeerLost;
    };
    if (end.by_error && changed_.wait_for(lock, kOwnError, has_own_error)) return;
  }
  Verdict verdict{.code = end.code, .message = end.reason, .table = end.table};
  if (end.code == ExitCode::kPeerLost) {
    const std::int64_t step = log_.state().step;
    verdict.message += fmt::format(
        "; this rank was {}, {}",
        step > 0 ? fmt::format("at step {}", step) : "before its first step", log_.place());
  }
  options_.end(verdict);
}

std::string watch_key(const RankEnvironment& place) {
  return fmt::format("coeus/watch/{}", place.restart);
}

}  // namespace coeus
