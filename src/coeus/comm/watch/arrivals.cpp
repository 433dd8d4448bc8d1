#include "coeus/comm/watch/arrivals.h"

#include <sys/socket.h>

#include <algorithm>
#include <random>

#include "coeus/comm/hang_report.h"
#include "coeus/comm/peer_lost_error.h"

namespace coeus {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kLongestHello = 4096;

std::string random_token() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

class Arrivals {
 public:
  explicit Arrivals(const WatchOptions& options)
      : options_(options), deadline_(Clock::now() + options.init_timeout) {}

  std::vector<Other> run();

 private:
  void wait();
  void take_hello(Connection& connection, const nlohmann::json& hello);
  void check_arrived();
  [[noreturn]] void refuse_all(ExitCode code, const std::string& message);
  Other* find(std::int64_t rank);
  bool complete() const {
    return static_cast<std::int64_t>(arrived_.size()) == options_.place.world_size - 1;
  }

  const WatchOptions& options_;
  const Clock::time_point deadline_;
  const std::string token_ = random_token();
  ListeningSocket listening_;
  std::vector<Connection> unknown_;  ///< have not said who they are
  std::vector<Other> arrived_;
};

std::vector<Other> Arrivals::run() {
  listening_ = listen_on(options_.place.one_machine() ? Reach::kThisMachine : Reach::kNetwork, 0);
  options_.publish(watch_key(options_.place), fmt::format("{} {}", listening_.port, token_));
  while (!complete()) {
    if (Clock::now() >= deadline_) {
      std::vector<std::int64_t> missing;
      for (std::int64_t rank = 1; rank < options_.place.world_size; ++rank)
        if (!find(rank)) missing.push_back(rank);
      refuse_all(
          ExitCode::kPeerLost,
          fmt::format("[Watch] {} of {} {} not come within {} s (comm.init_timeout_seconds): "
                      "look at {} log, or whether as many were started as WORLD_SIZE says",
                      ranks_text(missing), options_.place.world_size,
                      missing.size() == 1 ? "has" : "have",
                      std::chrono::duration<double>(options_.init_timeout).count(),
                      missing.size() == 1 ? "its" : "their"));
    }
    wait();
  }
  for (Other& other : arrived_) other.connection.send({{"welcome", true}});
  std::sort(arrived_.begin(), arrived_.end(),
            [](const Other& a, const Other& b) { return a.rank < b.rank; });
  return std::move(arrived_);
}

void Arrivals::wait() {
  std::vector<pollfd> descriptors = {{listening_.socket.number(), POLLIN, 0}};
  for (const Connection& connection : unknown_)
    descriptors.push_back({connection.descriptor(), POLLIN, 0});
  for (const Other& other : arrived_)
    descriptors.push_back({other.connection.descriptor(), POLLIN, 0});
  ::poll(descriptors.data(), descriptors.size(), milliseconds_until(deadline_));
  check_arrived();
  for (Connection& connection : unknown_) {
    connection.receive();
    if (const std::optional<nlohmann::json> hello = connection.next())
      take_hello(connection, *hello);
  }
  std::erase_if(unknown_, [](const Connection& connection) { return !connection.is_open(); });
  if ((descriptors[0].revents & POLLIN) != 0) {
    FileDescriptor socket(
        ::accept4(listening_.socket.number(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket.is_open()) unknown_.emplace_back(std::move(socket), kLongestHello);
  }
}

void Arrivals::check_arrived() {
  for (Other& other : arrived_) {
    other.connection.receive();
    if (!other.connection.is_open())
      refuse_all(ExitCode::kPeerLost,
                 fmt::format("[Watch] rank {} of {} ({}) ended before all ranks had come",
                             other.rank, options_.place.world_size, other.process));
  }
}

void Arrivals::take_hello(Connection& connection, const nlohmann::json& hello) {
  // Strangers may send anything.
  if (!hello.contains("job") || hello["job"] != token_) return connection.close();
  const std::int64_t world_size = options_.place.world_size;
  Other other{.rank = hello.value("rank", std::int64_t{-1}),
              .process = fmt::format("process {} on {}", hello.value("process", 0),
                                     hello.value("host", "?")),
              .connection = std::move(connection)};
  const auto refuse = [&](const std::string& message) {
    arrived_.push_back(std::move(other));
    refuse_all(ExitCode::kConfiguration, message);
  };
  if (const auto theirs = hello.value("world_size", std::int64_t{0}); theirs != world_size)
    refuse(
        fmt::format("[Watch] rank {} ({}) was started as one of {} ranks, and rank 0 as one of "
                    "{}: start all with the same WORLD_SIZE",
                    other.rank, other.process, theirs, world_size));
  if (other.rank == 0)
    refuse(fmt::format("[Watch] {} was started as rank 0 too: give every process its own RANK",
                       other.process));
  if (const Other* same = find(other.rank))
    refuse(
        fmt::format("[Watch] {} and {} were both started as rank {}: give every process its "
                    "own RANK",
                    same->process, other.process, other.rank));
  arrived_.push_back(std::move(other));
}

Other* Arrivals::find(std::int64_t rank) {
  const auto found = std::find_if(arrived_.begin(), arrived_.end(),
                                  [&](const Other& other) { return other.rank == rank; });
  return found == arrived_.end() ? nullptr : &*found;
}

void Arrivals::refuse_all(ExitCode code, const std::string& message) {
  for (Other& other : arrived_)
    other.connection.send({{"refused", message}, {"code", static_cast<int>(code)}});
  for (Other& other : arrived_) other.connection.flush(std::chrono::milliseconds(500));
  if (code == ExitCode::kConfiguration) throw ConfigError(message);
  throw PeerLostError(message);
}

}  // namespace

std::vector<Other> await_all_ranks(const WatchOptions& options) { return Arrivals(options).run(); }

}  // namespace coeus
