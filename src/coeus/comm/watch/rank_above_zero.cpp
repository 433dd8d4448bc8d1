#include <unistd.h>

#include <array>
#include <sstream>

#include "coeus/comm/peer_lost_error.h"
#include "coeus/comm/watch/loop.h"

namespace coeus {

namespace {

class RankAboveZero final : public WatchLoop {
 public:
  RankAboveZero(const WatchOptions& options, CollectiveLog& log)
      : WatchLoop(options, log), zero_(reach_rank_zero()) {
    meet();
  }
  ~RankAboveZero() override { stop(); }

 protected:
  void add_descriptors(std::vector<pollfd>& descriptors) override {
    if (!zero_.is_open()) return;
    const short wanted = zero_.has_unsent() ? POLLIN | POLLOUT : POLLIN;
    descriptors.push_back({zero_.descriptor(), wanted, 0});
  }

  void exchange() override {
    zero_.send_queued();
    zero_.receive();
    while (!concluded()) {
      const std::optional<nlohmann::json> message = zero_.next();
      if (!message) break;
      try {
        take(*message);
      } catch (const nlohmann::json::exception&) {
        zero_.close();  // of another version of this program
      }
    }
    if (!zero_.is_open() && !has_left())
      conclude({.reason = name_of(0) + " is gone: its connection closed"});
  }

  void tick(Clock::time_point now) override {
    if (!waiting_for_zero_since_ || now - *waiting_for_zero_since_ < 3 * kAnswerTime) return;
    conclude({.code = ExitCode::kHang,
              .reason = fmt::format("{} does not answer: its process is stopped, or its machine "
                                    "cannot be reached; this rank has been {}",
                                    name_of(0), log_.state().where())});
  }

  void waited_too_long(Clock::duration) override {
    if (waiting_for_zero_since_) return;
    waiting_for_zero_since_ = Clock::now();
    zero_.send({{"stuck", true}});
  }

  void say(const Goodbye& goodbye) override {
    zero_.send({{"goodbye", static_cast<int>(goodbye.code)}, {"message", goodbye.message}});
    zero_.flush(kSendTime);
  }

  bool may_leave() override { return true; }

 private:
  Connection reach_rank_zero();
  void meet();
  void take(const nlohmann::json& message);

  Clock::time_point deadline_ = Clock::now() + options_.init_timeout;
  std::string token_;
  Connection zero_;
  std::optional<Clock::time_point> waiting_for_zero_since_;
};

Connection RankAboveZero::reach_rank_zero() {
  const RankEnvironment& place = options_.place;
  std::string address;
  try {
    address = options_.lookup(watch_key(place));
  } catch (const std::exception& error) {
    // LibTorch's errors bring their stack along.
    const std::string reason = error.what();
    throw PeerLostError(fmt::format(
        "[Watch] {} has not come within {} s (comm.init_timeout_seconds): {}", name_of(0),
        std::chrono::ceil<std::chrono::seconds>(options_.init_timeout).count(),
        reason.substr(0, reason.find('\n'))));
  }
  int port = 0;
  std::istringstream(address) >> port >> token_;
  const std::string host = place.one_machine() ? "127.0.0.1" : place.master_addr;
  try {
    return {connect_to(host, port, deadline_), kLongestMessage};
  } catch (const PeerLostError& error) {
    throw PeerLostError(
        fmt::format("[Watch] {} takes no ranks any more, or cannot be reached from "
                    "here: {}; if the job runs without this rank, check WORLD_SIZE",
                    name_of(0), error.what()));
  }
}

void RankAboveZero::meet() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  zero_.send({{"job", token_},
              {"rank", options_.place.rank},
              {"world_size", options_.place.world_size},
              {"host", host.data()},
              {"process", ::getpid()}});
  // Rank 0 decides when the time is over, and says so.
  const std::optional<nlohmann::json> answer = zero_.wait_for_next(deadline_ + 5 * kAnswerTime);
  if (!answer)
    throw PeerLostError(fmt::format("[Watch] {} {} before all ranks had come", name_of(0),
                                    zero_.is_open() ? "has stopped answering" : "ended"));
  if (answer->contains("welcome")) return;
  const std::string message = answer->value("refused", "[Watch] rank 0 refuses this rank");
  if (answer->value("code", 0) == static_cast<int>(ExitCode::kConfiguration))
    throw ConfigError(message);
  throw PeerLostError(message);
}

void RankAboveZero::take(const nlohmann::json& message) {
  if (message.contains("report")) {
    waiting_for_zero_since_.reset();
    zero_.send({{"state", log_.state()}});
  } else if (message.contains("end")) {
    conclude({.code = static_cast<ExitCode>(message.value("end", 0)),
              .reason = message.value("reason", ""),
              .by_error = message.value("by_error", false)});
  }
}

}  // namespace

std::unique_ptr<WatchLoop> meet_rank_zero(const WatchOptions& options, CollectiveLog& log) {
  return std::make_unique<RankAboveZero>(options, log);
}

}  // namespace coeus
