// Whole runs of several ranks in which one dies, hangs, comes late or differs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <sstream>
#include <thread>

#include "coeus/base/error.h"
#include "coeus/comm/listening_socket.h"
#include "run_folder_fixture.h"

namespace coeus {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;

void wait_until(const std::function<bool()>& condition) {
  while (!condition()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

bool runs(pid_t process) {
  const std::string status = file_text(fmt::format("/proc/{}/stat", process));
  const size_t name_end = status.rfind(')');
  return name_end != std::string::npos && status.substr(name_end, 3) != ") Z";
}

/// A program that runs beside the test, with its output in a file.
class Program {
 public:
  Program(const std::string& command, const fs::path& output) : output_(output) {
    process_ = ::fork();
    if (process_ == 0) {
      const std::string line =
          fmt::format("cd '{}' && exec {} > '{}' 2>&1", COEUS_SOURCE_DIR, command, output.string());
      ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
      ::_exit(127);
    }
  }
  ~Program() {
    if (process_ == 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t process() const { return process_; }
  std::string output() const { return file_text(output_); }
  int exit_code() {
    int status = 0;
    ::waitpid(std::exchange(process_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  fs::path output_;
  pid_t process_;
};

class JobFaults : public RunTest {
 protected:
  std::string train_command(const std::string& launcher, const std::string& flags) const {
    return fmt::format(
        "'{}' {}train configs/llama3/debug_model.toml --training.dataset=synthetic "
        "--training.steps={} --training.seq_len=32 --training.local_batch_size=1 "
        "--metrics.log_freq=1 --job.dump_folder='{}' {}",
        COEUS_BINARY, launcher, steps_, (folder_ / "run").string(), flags);
  }

  /// Launches ranks whose output goes to `folder_`/rank0.log and so on, and waits until they train.
  void launch(int ranks, const std::string& flags) {
    const std::string launcher =
        fmt::format("launch -n {} --log-dir '{}' ", ranks, folder_.string());
    launcher_ = std::make_unique<Program>(train_command(launcher, flags), folder_ / "launcher.log");
    wait_until([&] {
      return log_of(0).find("step:  2 ") != std::string::npos || !runs(launcher_->process());
    });
    ranks_ = find_ranks();
    ASSERT_EQ(ranks_.size(), static_cast<size_t>(ranks)) << launcher_->output();
  }

  /// One rank alone, as another launcher would start it.
  std::unique_ptr<Program> start_rank(int rank, int world_size, int port,
                                      const std::string& flags) {
    const std::string place = fmt::format(
        "env RANK={0} LOCAL_RANK={0} WORLD_SIZE={1} LOCAL_WORLD_SIZE={1} MASTER_ADDR=127.0.0.1 "
        "MASTER_PORT={2} ",
        rank, world_size, port);
    return std::make_unique<Program>(place + train_command("", flags),
                                     folder_ / fmt::format("rank{}.log", rank));
  }

  std::string log_of(int rank) const {
    return file_text(folder_ / fmt::format("rank{}.log", rank));
  }

  /// Waits until these ranks have come as far as they can: their main threads take no time any
  /// more.
  void wait_until_blocked(const std::vector<int>& ranks) const {
    std::string last;
    auto since = std::chrono::steady_clock::now();
    wait_until([&] {
      std::string used;
      for (const int rank : ranks)
        used += file_text(fmt::format("/proc/{0}/task/{0}/schedstat", ranks_.at(rank)));
      if (std::exchange(last, used) != used) since = std::chrono::steady_clock::now();
      return std::chrono::steady_clock::now() - since > std::chrono::seconds(1);
    });
  }

  void expect_nothing_left() const {
    for (const auto& [rank, process] : ranks_) EXPECT_FALSE(runs(process)) << "rank " << rank;
  }

  int steps_ = 100000;
  std::unique_ptr<Program> launcher_;
  std::map<int, pid_t> ranks_;

 private:
  std::map<int, pid_t> find_ranks() const {
    std::map<int, pid_t> ranks;
    std::istringstream children(
        file_text(fmt::format("/proc/{0}/task/{0}/children", launcher_->process())));
    for (pid_t child; children >> child;) {
      const std::string variables = file_text(fmt::format("/proc/{}/environ", child));
      const size_t at = variables.find(std::string("\0RANK=", 6));
      if (at != std::string::npos) ranks[std::atoi(variables.c_str() + at + 6)] = child;
    }
    return ranks;
  }
};

int free_port() { return listen_on(Reach::kThisMachine, 0).port; }

TEST_F(JobFaults, EverySurvivorNamesARankThatIsKilled) {
  launch(3, "");
  ::kill(ranks_.at(1), SIGKILL);
  EXPECT_EQ(launcher_->exit_code(), 10);
  EXPECT_THAT(launcher_->output(), HasSubstr("rank 1 of 3 failed first: signal 9 (SIGKILL)"));
  for (int rank : {0, 2})
    EXPECT_THAT(log_of(rank), ContainsRegex(fmt::format(
                                  "rank 1 of 3 \\(process {} on [^ ]+\\) is gone: its connection "
                                  "closed; this rank was at step [0-9]+, in ",
                                  ranks_.at(1))));
  expect_nothing_left();
}

TEST_F(JobFaults, EverySurvivorNamesTheCollectiveInWhichItWaitedForAKilledRank) {
  launch(3, "");
  ::kill(ranks_.at(2), SIGSTOP);
  wait_until_blocked({0, 1});
  ::kill(ranks_.at(2), SIGKILL);
  EXPECT_EQ(launcher_->exit_code(), 10);
  for (int rank : {0, 1})
    EXPECT_THAT(log_of(rank), ContainsRegex("rank 2 of 3 .* is gone: its connection closed; this "
                                            "rank was at step [0-9]+, in [a-z_]+ of .* over "));
  expect_nothing_left();
}

TEST_F(JobFaults, EveryoneNamesARankThatHangs) {
  launch(3, "--comm.train_timeout_seconds=1");
  ::kill(ranks_.at(1), SIGSTOP);
  EXPECT_EQ(launcher_->exit_code(), 11);
  for (int rank : {0, 2})
    EXPECT_THAT(
        log_of(rank),
        HasSubstr("no progress for 1 s: rank 1 does not answer, while others wait for it in "));
  EXPECT_THAT(log_of(0), AllOf(ContainsRegex("\n     1     \\?  does not answer"),
                               ContainsRegex("\n     2  +[0-9]+  in ")));
  EXPECT_THAT(file_text(folder_ / "run/comm_traces/rank_2.json"), HasSubstr("\"waiting\""));
  expect_nothing_left();
}

TEST_F(JobFaults, ARankThatIsKilledInASaveLeavesACheckpointToGoOnFrom) {
  launch(2, "--checkpoint.enable --checkpoint.interval=1 --checkpoint.keep_latest_k=2");
  const fs::path checkpoints = folder_ / "run/checkpoint";
  wait_until([&] {
    std::error_code gone_meanwhile;
    for (const auto& entry : fs::directory_iterator(checkpoints, gone_meanwhile))
      if (entry.path().extension() == ".tmp") return true;
    return false;
  });
  ::kill(ranks_.at(1), SIGKILL);
  EXPECT_EQ(launcher_->exit_code(), 10);
  EXPECT_THAT(log_of(0),
              ContainsRegex("rank 1 of 2 .* is gone: its connection closed; this rank was "
                            "at step [0-9]+, in "));
  int newest = 0;
  for (const auto& entry : fs::directory_iterator(checkpoints)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("step-")) newest = std::max(newest, std::atoi(name.c_str() + 5));
  }
  ASSERT_GT(newest, 0);
  steps_ = newest + 1;
  Program again(train_command("launch -n 2 ", "--checkpoint.enable"), folder_ / "again.log");
  EXPECT_EQ(again.exit_code(), 0);
  EXPECT_THAT(again.output(), HasSubstr(fmt::format("Training starts at step {}", newest + 1)));
}

TEST_F(JobFaults, RanksOfDifferentConfigurationsShowTheDifference) {
  const int port = free_port();
  auto zero = start_rank(0, 2, port, "--training.seed=1");
  auto one = start_rank(1, 2, port, "--training.seed=2");
  EXPECT_EQ(zero->exit_code(), 2);
  EXPECT_EQ(one->exit_code(), 2);
  for (int rank : {0, 1})
    EXPECT_THAT(log_of(rank), HasSubstr("training.seed: 1 on rank 0; 2 on rank 1"));
}

TEST_F(JobFaults, RanksThatDifferInTheirNumberAreRefused) {
  const int port = free_port();
  auto zero = start_rank(0, 2, port, "");
  auto two = start_rank(2, 3, port, "");
  EXPECT_EQ(zero->exit_code(), 2);
  EXPECT_EQ(two->exit_code(), 2);
  for (int rank : {0, 2})
    EXPECT_THAT(log_of(rank), HasSubstr("was started as one of 3 ranks, and rank 0 as one of 2"));
}

TEST_F(JobFaults, RanksThatDoNotComeAreNamed) {
  auto zero = start_rank(0, 3, free_port(), "--comm.init_timeout_seconds=1");
  EXPECT_EQ(zero->exit_code(), 10);
  EXPECT_THAT(log_of(0), HasSubstr("ranks 1 and 2 of 3 have not come within 1 s"));
  auto one = start_rank(1, 3, free_port(), "--comm.init_timeout_seconds=1");
  EXPECT_EQ(one->exit_code(), 10);
  EXPECT_THAT(log_of(1), HasSubstr("rank 0 has not come within 1 s"));
}

TEST_F(JobFaults, APortThatIsTakenIsNamed) {
  const ListeningSocket other = listen_on(Reach::kThisMachine, 0);
  auto zero = start_rank(0, 2, other.port, "");
  EXPECT_EQ(zero->exit_code(), 2);
  EXPECT_THAT(log_of(0),
              AllOf(HasSubstr(fmt::format("port {} of this machine is taken", other.port)),
                    HasSubstr("MASTER_PORT")));
}

TEST_F(JobFaults, ASignalToTheLauncherEndsARunWell) {
  launch(2, "");
  ::kill(launcher_->process(), SIGTERM);
  EXPECT_EQ(launcher_->exit_code(), 0);
  EXPECT_THAT(log_of(0), ContainsRegex("Training stopped by SIGTERM after step [0-9]+"));
  expect_nothing_left();
}

TEST_F(JobFaults, RanksDieWithTheirLauncher) {
  launch(2, "");
  ::kill(launcher_->process(), SIGKILL);
  for (const auto& [rank, process] : ranks_)
    wait_until([process = process] { return !runs(process); });
}

}  // namespace
}  // namespace coeus
