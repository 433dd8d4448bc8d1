#include "coeus/comm/launcher/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/comm/launcher/rank_end.h"
#include "coeus/comm/launcher/rank_output.h"
#include "coeus/comm/launcher/rank_process.h"
#include "coeus/comm/launcher/signals.h"

namespace coeus {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kUsualPort = 29500;

int usable_cores() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/// A rank that runs, or whose last lines are not read yet.
struct Child {
  RankProcess process;
  RankOutput output;
  bool running = true;
  bool told_to_end = false;
};

class Launcher {
 public:
  explicit Launcher(const LaunchOptions& options)
      : options_(options),
        signals_({SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT}) {}
  ~Launcher() { kill_all(); }

  int run();

 private:
  void open_store_port();
  void start_all();
  RankStart start_of(std::int64_t local_rank) const;
  RankOutput output_of(std::int64_t rank) const;
  bool any_running() const;
  void wait_for_events();
  void take_signal(int signal);
  void tell_all(int signal);
  void take_ends();
  void take_end(Child& child, int status);
  void drain(Child& child);
  bool read_some(Child& child, Stream stream);
  void end_late_ranks();
  void kill_all();
  int report() const;

  const LaunchOptions& options_;
  SignalReader signals_;
  std::optional<ListeningSocket> store_;
  int port_ = 0;
  std::vector<Child> children_;
  std::vector<RankEnd> ends_;
  int asked_ = 0;  ///< the signal that asked the job to end
  int times_asked_ = 0;
  std::optional<Clock::time_point> next_measure_;  ///< against ranks that outlive another's failure
  bool terminated_ = false;
};

int Launcher::run() {
  open_store_port();
  start_all();
  while (any_running()) wait_for_events();
  return report();
}

void Launcher::open_store_port() {
  port_ = options_.master_port;
  if (options_.world_size() == 1) return;
  const bool one_machine = options_.nodes == 1;
  if (!one_machine && port_ == 0) port_ = kUsualPort;
  if (options_.node_rank != 0) return;
  store_ = listen_on(one_machine ? Reach::kThisMachine : Reach::kNetwork, port_);
  port_ = store_->port;
}

RankStart Launcher::start_of(std::int64_t local_rank) const {
  const std::int64_t rank = options_.node_rank * options_.ranks + local_rank;
  RankStart start{.rank = rank, .command = options_.command};
  start.set = {{"COEUS_LAUNCH", "1"},
               {"RANK", std::to_string(rank)},
               {"LOCAL_RANK", std::to_string(local_rank)},
               {"WORLD_SIZE", std::to_string(options_.world_size())},
               {"LOCAL_WORLD_SIZE", std::to_string(options_.ranks)},
               {"GROUP_RANK", std::to_string(options_.node_rank)}};
  // Of a launcher above this one.
  start.unset = {"MASTER_ADDR",
                 "MASTER_PORT",
                 "COEUS_STORE_SOCKET",
                 "TORCHELASTIC_USE_AGENT_STORE",
                 "TORCHELASTIC_RESTART_COUNT",
                 "TORCHELASTIC_RUN_ID"};
  if (options_.world_size() > 1) {
    start.set["MASTER_ADDR"] = options_.nodes == 1 ? "127.0.0.1" : options_.master_addr;
    start.set["MASTER_PORT"] = std::to_string(port_);
  }
  if (store_ && rank == 0) {
    start.inherited = store_->socket.number();
    start.set["COEUS_STORE_SOCKET"] = std::to_string(start.inherited);
  }
  if (std::getenv("OMP_NUM_THREADS") == nullptr) {
    start.set["OMP_NUM_THREADS"] =
        std::to_string(std::max<std::int64_t>(1, usable_cores() / options_.ranks));
  }
  if (options_.shown.contains(rank) && ::isatty(options_.errors) == 1 &&
      std::getenv("NO_COLOR") == nullptr) {
    start.set["CLICOLOR_FORCE"] = "1";
  }
  return start;
}

RankOutput Launcher::output_of(std::int64_t rank) const {
  RankOutputOptions output;
  output.rank = rank;
  output.shown = options_.shown.contains(rank);
  output.prefixed = options_.shown.all || options_.shown.ranks.size() > 1;
  output.pass_on = [this](Stream stream, const std::string& line) {
    const int to = stream == Stream::kOutput ? options_.output : options_.errors;
    for (std::string_view rest = line; !rest.empty();) {
      const ssize_t n = ::write(to, rest.data(), rest.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return;  // nobody reads any more: the job goes on, as under nohup
      rest.remove_prefix(n);
    }
  };
  if (!options_.log_folder.empty()) {
    const auto path = options_.log_folder / fmt::format("rank{}.log", rank);
    // Appended to: the lines of a run that failed are wanted after the next has started.
    output.file =
        FileDescriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    COEUS_CHECK_CONFIG(output.file.is_open(), "[coeus launch] --log-dir: cannot write {}: {}",
                       path.string(), std::strerror(errno));
  }
  return RankOutput(std::move(output));
}

void Launcher::start_all() {
  if (!options_.log_folder.empty()) {
    std::error_code ignored;  // opening a file in it says more
    std::filesystem::create_directories(options_.log_folder, ignored);
  }
  std::vector<RankOutput> outputs;
  const std::int64_t first = options_.node_rank * options_.ranks;
  for (std::int64_t i = 0; i < options_.ranks; ++i) outputs.push_back(output_of(first + i));
  for (std::int64_t i = 0; i < options_.ranks; ++i)
    children_.push_back({.process = start_rank(start_of(i)), .output = std::move(outputs[i])});
  // Rank 0's copy must be the last, so that the port closes with it.
  store_.reset();
  if (options_.world_size() > 1)
    log_info("Started ranks {} to {} of {}, which meet at {}:{}", first, first + options_.ranks - 1,
             options_.world_size(), options_.nodes == 1 ? "127.0.0.1" : options_.master_addr,
             port_);
}

bool Launcher::any_running() const {
  return std::any_of(children_.begin(), children_.end(), [](const Child& c) { return c.running; });
}

void Launcher::wait_for_events() {
  struct Source {
    Child* child;
    Stream stream;
  };
  std::vector<pollfd> descriptors = {{signals_.descriptor(), POLLIN, 0}};
  std::vector<Source> sources = {{nullptr, Stream::kOutput}};
  for (Child& child : children_) {
    if (child.process.output.is_open()) {
      descriptors.push_back({child.process.output.number(), POLLIN, 0});
      sources.push_back({&child, Stream::kOutput});
    }
    if (child.process.errors.is_open()) {
      descriptors.push_back({child.process.errors.number(), POLLIN, 0});
      sources.push_back({&child, Stream::kErrors});
    }
  }
  int timeout = -1;
  if (next_measure_) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*next_measure_ - Clock::now());
    timeout = static_cast<int>(std::max<std::int64_t>(0, left.count()));
  }
  if (::poll(descriptors.data(), descriptors.size(), timeout) < 0 && errno != EINTR)
    throw Error(fmt::format("[coeus launch] cannot wait for the ranks: {}", std::strerror(errno)));
  for (size_t i = 1; i < descriptors.size(); ++i)
    if (descriptors[i].revents != 0) read_some(*sources[i].child, sources[i].stream);
  while (const std::optional<int> signal = signals_.next()) take_signal(*signal);
  // Signals of one kind that come together are one: whoever ended is found by asking.
  take_ends();
  end_late_ranks();
}

bool Launcher::read_some(Child& child, Stream stream) {
  FileDescriptor& from = stream == Stream::kOutput ? child.process.output : child.process.errors;
  if (!from.is_open()) return false;
  char buffer[1 << 16];
  const ssize_t n = ::read(from.number(), buffer, sizeof buffer);
  if (n > 0) {
    child.output.add(stream, {buffer, static_cast<size_t>(n)});
    return true;
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  child.output.finish(stream);
  from.close();
  return false;
}

void Launcher::drain(Child& child) {
  for (const Stream stream : {Stream::kOutput, Stream::kErrors}) {
    // All that a pipe can hold, and an end to one that somebody still fills.
    for (int i = 0; i < 64 && read_some(child, stream); ++i) {
    }
    child.output.finish(stream);
  }
  child.process.output.close();
  child.process.errors.close();
}

void Launcher::tell_all(int signal) {
  for (Child& child : children_)
    if (child.running) signal_rank(child.process, signal);
}

void Launcher::take_signal(int signal) {
  if (signal == SIGCHLD) return;
  if (signal == SIGTSTP) {
    tell_all(SIGSTOP);
    ::raise(SIGSTOP);
    return;
  }
  if (signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT) {
    asked_ = signal;
    if (++times_asked_ == 3) signal = SIGKILL;
    log_info("{}: SIG{} goes to all ranks", sigabbrev_np(asked_), sigabbrev_np(signal));
  }
  tell_all(signal);
}

void Launcher::take_ends() {
  for (Child& child : children_) {
    if (!child.running) continue;
    siginfo_t info{};
    if (::waitid(P_PID, child.process.id, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == 0)
      continue;
    // What it left behind goes first: while the rank is not waited for, its process group is its.
    signal_rank(child.process, SIGKILL);
    int status = 0;
    ::waitpid(child.process.id, &status, 0);
    take_end(child, status);
  }
}

void Launcher::take_end(Child& child, int status) {
  child.running = false;
  drain(child);
  ends_.push_back({.rank = child.process.rank,
                   .status = status,
                   .ended_by_us = child.told_to_end,
                   .last_error = child.output.last_error()});
  if (ends_.back().failed() && !next_measure_ && any_running())
    next_measure_ = Clock::now() + options_.notice;
}

void Launcher::end_late_ranks() {
  if (!next_measure_ || Clock::now() < *next_measure_ || !any_running()) return;
  for (Child& child : children_) {
    if (!child.running) continue;
    child.told_to_end = true;
    log_warning("rank {} has not ended after another failed: sending it {}", child.process.rank,
                terminated_ ? "SIGKILL" : "SIGTERM");
    signal_rank(child.process, terminated_ ? SIGKILL : SIGTERM);
    // One that is stopped would not learn of it.
    signal_rank(child.process, SIGCONT);
  }
  terminated_ = true;
  next_measure_ = Clock::now() + options_.notice;
}

void Launcher::kill_all() {
  for (Child& child : children_) {
    if (!child.running) continue;
    signal_rank(child.process, SIGKILL);
    ::waitpid(child.process.id, nullptr, 0);
    child.running = false;
  }
}

int Launcher::report() const {
  const std::optional<RankEnd> cause = first_cause(ends_);
  const int code = job_exit_code(cause, asked_);
  if (cause && asked_ != 0 && WIFSIGNALED(cause->status)) {
    log_info("The ranks were ended by SIG{}", sigabbrev_np(WTERMSIG(cause->status)));
  } else if (cause) {
    const std::string said =
        cause->last_error.empty() ? "" : fmt::format("; it said last: {}", cause->last_error);
    log_error("rank {} of {} failed first: {}{}", cause->rank, options_.world_size(),
              to_string(*cause), said);
  }
  return code;
}

}  // namespace

int launch(const LaunchOptions& options) {
  check(options);
  return Launcher(options).run();
}

}  // namespace coeus
