#include "coeus/comm/launcher/launcher.h"

#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>
#include <thread>

#include "coeus/base/error.h"
#include "coeus/base/log.h"
#include "coeus/base/temporary_folder.h"
#include "coeus/comm/listening_socket.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

/// A job of shell scripts, what it printed, and what the launcher logged.
class LaunchTest : public ::testing::Test {
 protected:
  LaunchTest() : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "root", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_, /*force_flush=*/true)));
    options_.notice = std::chrono::milliseconds(100);
  }
  ~LaunchTest() override { spdlog::set_default_logger(before_); }

  /// Runs `script` in every rank; $DIR is the test's folder.
  int run(std::int64_t ranks, const std::string& script) {
    options_.ranks = ranks;
    options_.command = {"/bin/sh", "-c", "DIR='" + folder_.path().string() + "'; " + script};
    std::FILE* const output = std::fopen((folder_ / "output").c_str(), "a");
    std::FILE* const errors = std::fopen((folder_ / "errors").c_str(), "a");
    options_.output = fileno(output);
    options_.errors = fileno(errors);
    struct Close {
      std::FILE *first, *second;
      ~Close() { std::fclose(first), std::fclose(second); }
    } close{output, errors};
    return launch(options_);
  }
  std::string output() const { return file_text(folder_ / "output"); }
  std::string errors() const { return file_text(folder_ / "errors"); }
  std::string log() const { return log_.str(); }

  LaunchOptions options_;
  TemporaryFolder folder_;

 private:
  std::shared_ptr<spdlog::logger> before_;
  std::ostringstream log_;
};

bool runs(pid_t process) {
  const std::string status = file_text("/proc/" + std::to_string(process) + "/stat");
  const size_t name_end = status.rfind(')');
  return name_end != std::string::npos && status.substr(name_end, 3) != ") Z";
}

pid_t number_in(const std::filesystem::path& path) {
  return static_cast<pid_t>(std::atoi(file_text(path).c_str()));
}

/// Waits for a file that a script makes.
void wait_for_file(const std::filesystem::path& path) {
  while (!std::filesystem::exists(path)) std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

TEST_F(LaunchTest, GivesEachRankItsPlace) {
  ::unsetenv("OMP_NUM_THREADS");
  EXPECT_EQ(run(3,
                "echo $RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE $GROUP_RANK $MASTER_ADDR "
                "$((MASTER_PORT > 0)) $((OMP_NUM_THREADS > 0)) > $DIR/place$RANK"),
            0);
  for (int rank = 0; rank < 3; ++rank)
    EXPECT_EQ(file_text(folder_ / fmt::format("place{}", rank)),
              fmt::format("{0}/3 {0}/3 0 127.0.0.1 1 1\n", rank));
}

TEST_F(LaunchTest, CountsRanksOverMachines) {
  options_.nodes = 3;
  options_.node_rank = 2;
  options_.master_addr = "node0.lan";
  EXPECT_EQ(run(2,
                "echo $RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE $GROUP_RANK $MASTER_ADDR "
                "$MASTER_PORT > $DIR/place$LOCAL_RANK"),
            0);
  EXPECT_EQ(file_text(folder_ / "place0"), "4/6 0/2 2 node0.lan 29500\n");
  EXPECT_EQ(file_text(folder_ / "place1"), "5/6 1/2 2 node0.lan 29500\n");
}

TEST_F(LaunchTest, KeepsTheNumberOfThreadsThatIsSet) {
  ::setenv("OMP_NUM_THREADS", "7", 1);
  run(2, "echo $OMP_NUM_THREADS > $DIR/threads");
  ::unsetenv("OMP_NUM_THREADS");
  EXPECT_EQ(file_text(folder_ / "threads"), "7\n");
}

TEST_F(LaunchTest, HandsRankZeroThePortThatListens) {
  EXPECT_EQ(run(2,
                "if [ $RANK = 0 ]; then readlink /proc/self/fd/$COEUS_STORE_SOCKET; "
                "else echo ${COEUS_STORE_SOCKET-none} > $DIR/one; fi; ls /proc/self/fd | wc -l > "
                "$DIR/open$RANK"),
            0);
  EXPECT_THAT(output(), HasSubstr("socket:["));
  EXPECT_EQ(file_text(folder_ / "one"), "none\n");
  EXPECT_EQ(number_in(folder_ / "open0"), number_in(folder_ / "open1") + 1)
      << "nothing else of the launcher's is inherited, nor more by each next rank";
}

TEST_F(LaunchTest, RefusesAPortThatIsTaken) {
  const ListeningSocket other = listen_on(Reach::kThisMachine, 0);
  options_.master_port = other.port;
  EXPECT_THAT([&] { run(2, "echo started > $DIR/started"); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr(std::to_string(other.port)),
                                               HasSubstr("taken"), HasSubstr("--master-port"))));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "started"));
}

TEST_F(LaunchTest, ReturnsTheExitCodeOfTheRankThatFailedAndNamesIt) {
  EXPECT_EQ(run(3,
                "if [ $RANK = 1 ]; then "
                "echo '[coeus] 2026-01-31 12:00:00,000 - root - ERROR - row 7 is torn' >&2; "
                "exit 14; fi; read never < $DIR/../none; exit 10"),
            14);
  EXPECT_THAT(
      log(),
      HasSubstr("rank 1 of 3 failed first: exit code 14 (data); it said last: row 7 is torn"));
  EXPECT_THAT(errors(), HasSubstr("[rank1]: [coeus] 2026-01-31"));
}

TEST_F(LaunchTest, BlamesNotTheRanksThatLostAnother) {
  // Rank 0 sees that rank 1 is going before rank 1 is gone.
  EXPECT_EQ(run(2,
                "if [ $RANK = 0 ]; then touch $DIR/zero; exit 10; fi; "
                "while [ ! -e $DIR/zero ]; do :; done; exit 12"),
            12);
  EXPECT_THAT(log(), HasSubstr("rank 1 of 2 failed first: exit code 12"));
}

TEST_F(LaunchTest, ReportsARankThatWasKilledAsLost) {
  EXPECT_EQ(run(2, "if [ $RANK = 1 ]; then kill -9 $$; fi; exit 10"), 10);
  EXPECT_THAT(log(),
              HasSubstr("rank 1 of 2 failed first: signal 9 (SIGKILL), which somebody sent"));
}

TEST_F(LaunchTest, EndsRanksThatOutliveAFailureAndIgnoreSigterm) {
  EXPECT_EQ(
      run(3,
          "echo $$ > $DIR/pid$RANK; if [ $RANK = 0 ]; then "
          "while [ ! -e $DIR/ready1 ] || [ ! -e $DIR/ready2 ]; do :; done; exit 3; fi; "
          "[ $RANK = 1 ] && trap '' TERM; touch $DIR/ready$RANK; while :; do sleep 100; done"),
      3);
  for (int rank = 0; rank < 3; ++rank)
    EXPECT_FALSE(runs(number_in(folder_ / fmt::format("pid{}", rank)))) << rank;
  EXPECT_THAT(
      log(),
      AllOf(HasSubstr("rank 2 has not ended after another failed: sending it SIGTERM"),
            HasSubstr("rank 1 has not ended after another failed: sending it SIGKILL"),
            Not(HasSubstr("rank 2 has not ended after another failed: sending it SIGKILL"))));
}

TEST_F(LaunchTest, EndsARankThatIsStoppedWithoutKillingIt) {
  EXPECT_EQ(run(2,
                "if [ $RANK = 0 ]; then while [ ! -e $DIR/ready ]; do :; done; exit 3; fi; "
                "trap 'touch $DIR/told; exit 0' TERM; touch $DIR/ready; kill -STOP $$; "
                "while :; do sleep 0.01; done"),
            3);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "told"));
}

TEST_F(LaunchTest, LeavesNothingBehindThatARankHasStarted) {
  EXPECT_EQ(run(2, "sleep 1000 & echo $! > $DIR/child$RANK"), 0);
  // They were sent SIGKILL and die when the system comes to it; without it, this would never end.
  for (const char* name : {"child0", "child1"})
    while (runs(number_in(folder_ / name))) std::this_thread::yield();
}

TEST_F(LaunchTest, PrintsRankZeroAndOthersErrors) {
  EXPECT_EQ(run(2,
                "echo out$RANK; P='[coeus] 2026-01-31 12:00:00,000 - root -'; "
                "echo early$RANK >&2; echo \"$P INFO - info$RANK\" >&2; echo after$RANK >&2; "
                "echo \"$P ERROR - bad$RANK\" >&2; printf more$RANK >&2"),
            0);
  EXPECT_EQ(output(), "out0\n");
  EXPECT_THAT(errors(), AllOf(HasSubstr("info0\n"), HasSubstr("after0\n"), HasSubstr("- bad0\n"),
                              HasSubstr("more0\n"), Not(HasSubstr("[rank0]"))));
  EXPECT_THAT(errors(), AllOf(HasSubstr("[rank1]: early1\n"), HasSubstr("- bad1\n"),
                              HasSubstr("[rank1]: more1\n"), Not(HasSubstr("info1")),
                              Not(HasSubstr("after1"))));
}

TEST_F(LaunchTest, PrintsAllRanksWithTheirNumbers) {
  options_.shown = parse_shown_ranks("all");
  EXPECT_EQ(run(2, "echo out$RANK; echo \"[rank$RANK]: err$RANK\" >&2"), 0);
  EXPECT_THAT(output(), AllOf(HasSubstr("[rank0]: out0\n"), HasSubstr("[rank1]: out1\n")));
  EXPECT_THAT(errors(), AllOf(HasSubstr("[rank1]: err1\n"), Not(HasSubstr("[rank1]: [rank1]"))));
}

TEST_F(LaunchTest, KeepsEachRanksOutputInAFile) {
  options_.log_folder = folder_ / "logs";
  EXPECT_EQ(run(2, "printf '\\033[31mout%s\\033[39m\\n' $RANK; echo err$RANK >&2"), 0);
  EXPECT_THAT(file_text(folder_ / "logs/rank1.log"),
              AllOf(HasSubstr("out1\n"), HasSubstr("err1\n"), Not(HasSubstr("\033"))));
  run(2, "echo again");
  EXPECT_THAT(file_text(folder_ / "logs/rank0.log"),
              AllOf(HasSubstr("out0\n"), HasSubstr("again\n")));
}

/// In a process of its own, whose signals are nobody else's.
pid_t launch_in_a_process(const std::function<int()>& run) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(run());
  return child;
}

int wait_for_end(pid_t process) {
  int status = 0;
  ::waitpid(process, &status, 0);
  return status;
}

TEST_F(LaunchTest, PassesSignalsOn) {
  const pid_t launcher = launch_in_a_process([&] {
    return run(2,
               "trap 'touch $DIR/user$RANK' USR1; trap 'exit 0' TERM; touch $DIR/ready$RANK; "
               "while :; do sleep 0.01; done");
  });
  wait_for_file(folder_ / "ready0");
  wait_for_file(folder_ / "ready1");
  ::kill(launcher, SIGUSR1);
  wait_for_file(folder_ / "user0");
  wait_for_file(folder_ / "user1");
  ::kill(launcher, SIGTERM);
  EXPECT_EQ(wait_for_end(launcher), 0) << "ranks that end well when asked to make a good end";
}

TEST_F(LaunchTest, ReturnsTheSignalThatEndedTheRanksWhenItWasAskedFor) {
  const pid_t launcher = launch_in_a_process(
      [&] { return run(2, "touch $DIR/ready$RANK; while :; do sleep 100; done"); });
  wait_for_file(folder_ / "ready0");
  wait_for_file(folder_ / "ready1");
  ::kill(launcher, SIGINT);
  const int status = wait_for_end(launcher);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGINT);
}

TEST_F(LaunchTest, KillsAtTheThirdRequest) {
  const pid_t launcher = launch_in_a_process([&] {
    return run(1,
               "n=0; trap 'n=$((n+1)); touch $DIR/asked$n' TERM; touch $DIR/ready; "
               "while :; do sleep 0.01; done");
  });
  wait_for_file(folder_ / "ready");
  ::kill(launcher, SIGTERM);
  wait_for_file(folder_ / "asked1");
  ::kill(launcher, SIGTERM);
  wait_for_file(folder_ / "asked2");
  ::kill(launcher, SIGTERM);
  EXPECT_EQ(WEXITSTATUS(wait_for_end(launcher)), 128 + SIGKILL);
}

TEST_F(LaunchTest, TakesTheRanksAlongWhenItIsKilled) {
  // Each rank holds the writing end of a pipe: it reads as over once all are gone.
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t launcher =
      launch_in_a_process([&] { return run(2, "touch $DIR/ready$RANK; while :; do :; done"); });
  ::close(ends[1]);
  wait_for_file(folder_ / "ready0");
  wait_for_file(folder_ / "ready1");
  ::kill(launcher, SIGKILL);
  char byte;
  EXPECT_EQ(::read(ends[0], &byte, 1), 0);
  ::close(ends[0]);
  EXPECT_TRUE(WIFSIGNALED(wait_for_end(launcher)));
}

TEST_F(LaunchTest, SaysWhenThereIsNoSuchProgram) {
  options_.ranks = 2;
  options_.command = {"/no/such/program"};
  EXPECT_THAT([&] { launch(options_); },
              ThrowsMessage<Error>(HasSubstr("cannot run /no/such/program: No such file")));
}

TEST(LaunchOptions, RefusesWhatCannotBe) {
  const auto refuses = [](const std::function<void(LaunchOptions&)>& change, const char* why) {
    LaunchOptions options;
    options.command = {"/bin/true"};
    change(options);
    EXPECT_THAT([&] { check(options); }, ThrowsMessage<ConfigError>(HasSubstr(why)));
  };
  refuses([](LaunchOptions& o) { o.ranks = 0; }, "-n must be at least 1, got 0");
  refuses([](LaunchOptions& o) { o.nodes = 0; }, "--nnodes must be at least 1");
  refuses([](LaunchOptions& o) { o.nodes = 2; }, "--nnodes 2 needs --master-addr");
  refuses([](LaunchOptions& o) { o.node_rank = 1; }, "--node-rank must be from 0 to 0");
  refuses([](LaunchOptions& o) { o.master_port = 65536; }, "--master-port");
  refuses([](LaunchOptions& o) { o.shown.ranks = {1}; },
          "--log-rank 1: the job has the ranks 0 to 0");
  refuses([](LaunchOptions& o) { o.command = {}; }, "nothing to start");
}

TEST(ShownRanks, ParsesRanksOrAll) {
  EXPECT_TRUE(parse_shown_ranks("all").contains(99));
  EXPECT_TRUE(parse_shown_ranks("0,12").contains(12));
  EXPECT_FALSE(parse_shown_ranks("0,12").contains(1));
  for (const char* text : {"", "a", "1,", "1,,2", "-1", "1 2"})
    EXPECT_THAT([&] { parse_shown_ranks(text); },
                ThrowsMessage<ConfigError>(HasSubstr("--log-rank")))
        << text;
}

}  // namespace
}  // namespace coeus
