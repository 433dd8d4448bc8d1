#include <algorithm>

#include "coeus/base/log.h"
#include "coeus/comm/hang_report.h"
#include "coeus/comm/watch/arrivals.h"
#include "coeus/comm/watch/loop.h"

namespace coeus {

namespace {

class RankZero final : public WatchLoop {
 public:
  RankZero(const WatchOptions& options, CollectiveLog& log)
      : WatchLoop(options, log), others_(await_all_ranks(options_)) {
    for (Other& other : others_) other.connection.set_longest_line(kLongestMessage);
  }
  ~RankZero() override { stop(); }

 protected:
  void add_descriptors(std::vector<pollfd>& descriptors) override {
    for (const Other& other : others_) {
      if (!other.connection.is_open()) continue;
      const short wanted = other.connection.has_unsent() ? POLLIN | POLLOUT : POLLIN;
      descriptors.push_back({other.connection.descriptor(), wanted, 0});
    }
  }
  void exchange() override;
  void tick(Clock::time_point now) override;
  void waited_too_long(Clock::duration limit) override { ask_everybody(limit, ""); }
  void say(const Goodbye& goodbye) override {
    left_at_ = Clock::now();
    waits_for_others_ = goodbye.code == ExitCode::kDone;
    if (waits_for_others_) return;
    tell_others({.reason = fmt::format("{} ended: {}", name_of(0), goodbye.message),
                 .by_error = goodbye.code != ExitCode::kPeerLost});
  }
  bool may_leave() override {
    if (concluded() || !waits_for_others_) return true;
    return std::all_of(others_.begin(), others_.end(), [](const Other& o) { return o.goodbye; });
  }

 private:
  /// Everybody is asked where they are.
  struct Inquiry {
    Clock::time_point since;
    Clock::duration limit;
    std::string reason;  ///< to end for; empty: what the answers say
    std::vector<std::optional<RankState>> states;
  };

  void take(Other& other, const nlohmann::json& message);
  void ask_everybody(Clock::duration limit, const std::string& reason);
  bool all_have_answered() const;
  void judge();
  void tell_others(const JobEnd& end);
  void end_job(const JobEnd& end) {
    tell_others(end);
    conclude(end);
  }

  std::vector<Other> others_;  ///< ranks 1, 2, …
  std::optional<Clock::time_point> first_loss_, left_at_;
  bool waits_for_others_ = true;  ///< until they are done too, when this rank is
  std::optional<Inquiry> inquiry_;
};

void RankZero::exchange() {
  for (Other& other : others_) {
    other.connection.send_queued();
    other.connection.receive();
    while (const std::optional<nlohmann::json> message = other.connection.next()) {
      try {
        take(other, *message);
      } catch (const nlohmann::json::exception&) {
        other.connection.close();  // of another version of this program
      }
      if (concluded()) return;
    }
    if (!other.connection.is_open() && !other.goodbye && !first_loss_) first_loss_ = Clock::now();
  }
}

void RankZero::take(Other& other, const nlohmann::json& message) {
  if (message.contains("state")) {
    if (inquiry_) inquiry_->states[other.rank] = message["state"].get<RankState>();
  } else if (message.contains("stuck")) {
    ask_everybody(limit(), "");
  } else if (message.contains("goodbye")) {
    other.goodbye = Goodbye{.code = static_cast<ExitCode>(message.value("goodbye", 0)),
                            .message = message.value("message", "")};
    if (other.goodbye->code != ExitCode::kDone)
      end_job({.reason = fmt::format("{} ended: {}", name_of(other.rank), other.goodbye->message),
               .by_error = other.goodbye->code != ExitCode::kPeerLost});
  }
}

void RankZero::tick(Clock::time_point now) {
  // Ranks that die together are named together.
  if (first_loss_ && now - *first_loss_ >= std::chrono::milliseconds(50)) {
    std::vector<std::string> lost;
    for (const Other& other : others_)
      if (!other.connection.is_open() && !other.goodbye)
        lost.push_back(fmt::format("{} ({})", name_of(other.rank), other.process));
    end_job({.reason = fmt::format("{} {} gone: {} closed", fmt::join(lost, ", "),
                                   lost.size() == 1 ? "is" : "are",
                                   lost.size() == 1 ? "its connection" : "their connections")});
    return;
  }
  if (inquiry_ && (all_have_answered() || now - inquiry_->since >= kAnswerTime)) {
    judge();
  } else if (left_at_ && !inquiry_ && now - *left_at_ > limit()) {
    std::vector<std::int64_t> late;
    for (const Other& other : others_)
      if (!other.goodbye) late.push_back(other.rank);
    if (!late.empty())
      ask_everybody(limit(), fmt::format("{} {} not ended, and rank 0 has", ranks_text(late),
                                         late.size() == 1 ? "has" : "have"));
  }
}

void RankZero::ask_everybody(Clock::duration limit, const std::string& reason) {
  if (inquiry_) return;
  inquiry_ = {.since = Clock::now(), .limit = limit, .reason = reason};
  inquiry_->states.resize(options_.place.world_size);
  inquiry_->states[0] = log_.state();
  for (Other& other : others_) {
    if (other.goodbye)
      inquiry_->states[other.rank] = RankState{.activity = "ended"};
    else
      other.connection.send({{"report", true}});
  }
}

bool RankZero::all_have_answered() const {
  return std::all_of(inquiry_->states.begin(), inquiry_->states.end(),
                     [](const auto& state) { return state.has_value(); });
}

void RankZero::judge() {
  const Inquiry inquiry = std::move(*inquiry_);
  inquiry_.reset();
  const double limit = std::chrono::duration<double>(inquiry.limit).count();
  const bool still_waits =
      std::any_of(inquiry.states.begin(), inquiry.states.end(), [&](const auto& state) {
        return state && state->waiting() && state->waiting()->seconds >= limit;
      });
  if (inquiry.reason.empty() && !still_waits) {
    log_warning("a collective took longer than {:g} s, and then ended", limit);
    return;
  }
  const HangReport report = explain_hang(inquiry.states);
  end_job({.code = ExitCode::kHang,
           .reason = fmt::format("no progress for {:g} s: {}", limit,
                                 inquiry.reason.empty() ? report.cause : inquiry.reason),
           .table = report.table});
}

void RankZero::tell_others(const JobEnd& end) {
  for (Other& other : others_)
    if (!other.goodbye)
      other.connection.send({{"end", static_cast<int>(end.code)},
                             {"reason", end.reason},
                             {"by_error", end.by_error}});
  const Clock::time_point deadline = Clock::now() + kSendTime;
  for (Other& other : others_)
    other.connection.flush(std::chrono::milliseconds(milliseconds_until(deadline)));
}

}  // namespace

std::unique_ptr<WatchLoop> meet_all_ranks(const WatchOptions& options, CollectiveLog& log) {
  return std::make_unique<RankZero>(options, log);
}

}  // namespace coeus
