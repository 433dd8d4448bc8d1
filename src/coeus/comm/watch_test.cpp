#include "coeus/comm/watch.h"

#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "coeus/base/log.h"
#include "coeus/base/temporary_folder.h"
#include "coeus/comm/peer_lost_error.h"
#include "coeus/comm/watch/connection.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

using std::chrono::milliseconds;

void wait_for_file(const std::filesystem::path& path) {
  while (!std::filesystem::exists(path)) std::this_thread::sleep_for(milliseconds(2));
}

void write_whole(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path.string() + ".part", std::ios::binary) << text;
  std::filesystem::rename(path.string() + ".part", path);
}

/// Ranks as processes, whose key-value store is a folder. Each one's standard error is in the file
/// `log0`, `log1`, ….
class WatchTest : public ::testing::Test {
 protected:
  /// What a rank does with its watch; what it returns is its process's exit code.
  using Life = std::function<int(std::int64_t rank, Watch& watch, CollectiveLog& log)>;

  WatchOptions options_of(std::int64_t rank) const {
    WatchOptions options;
    options.place = {
        .rank = rank, .world_size = ranks_, .local_rank = rank, .local_world_size = ranks_};
    options.init_timeout = init_timeout_;
    options.train_timeout = train_timeout_;
    options.trace_file = folder_ / fmt::format("traces/rank_{}", rank);
    options.publish = [this](const std::string& key, const std::string& value) {
      std::filesystem::create_directories((folder_ / key).parent_path());
      write_whole(folder_ / key, value);
    };
    options.lookup = [this](const std::string& key) {
      wait_for_file(folder_ / key);
      return file_text(folder_ / key);
    };
    return options;
  }

  /// Starts a rank. Errors of its start are logged, and make its exit code.
  void start(const WatchOptions& options, const Life& life) {
    const pid_t child = ::fork();
    if (child > 0) return children_.push_back(child);
    const std::int64_t number = static_cast<std::int64_t>(children_.size());
    std::freopen((folder_ / fmt::format("log{}", number)).c_str(), "w", stderr);
    init_log();
    int code = 1;
    try {
      CollectiveLog log;
      log.add_group("dp", {0, 1, 2, 3});
      Watch watch(options, log);
      write_whole(folder_ / fmt::format("met{}", number), "");
      code = life(number, watch, log);
    } catch (const Error& error) {
      log_error("{}", error.what());
      code = static_cast<int>(error.exit_code());
    }
    ::_exit(code);
  }
  void start_all(std::int64_t ranks, const Life& life) {
    ranks_ = ranks;
    for (std::int64_t rank = 0; rank < ranks; ++rank) start(options_of(rank), life);
  }
  void wait_until_all_have(const char* file) const {
    for (size_t rank = 0; rank < children_.size(); ++rank)
      wait_for_file(folder_ / (file + std::to_string(rank)));
  }

  /// How a rank's process ended: its exit code, or 128 and its signal.
  int end_of(std::int64_t rank) {
    int status = 0;
    EXPECT_EQ(::waitpid(children_[rank], &status, 0), children_[rank]);
    children_[rank] = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  std::string log_of(std::int64_t rank) const {
    return file_text(folder_ / fmt::format("log{}", rank));
  }
  ~WatchTest() override {
    for (const pid_t child : children_)
      if (child > 0) {
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
      }
  }

  TemporaryFolder folder_;
  std::int64_t ranks_ = 0;
  milliseconds init_timeout_ = std::chrono::minutes(5), train_timeout_ = std::chrono::minutes(5);
  std::vector<pid_t> children_;
};

/// As a rank that waits for another which never comes.
[[noreturn]] void block_in(CollectiveLog& log, const char* kind, const char* what) {
  auto scope = log.begin(kind, what, 0, 8);
  scope.wait();
  while (true) ::pause();
}

TEST_F(WatchTest, TellsEverySurvivorWhoDied) {
  start_all(4, [&](std::int64_t rank, Watch&, CollectiveLog& log) -> int {
    log.set_step(7);
    // Whatever the rank does: it computes, or is blocked.
    write_whole(folder_ / fmt::format("ready{}", rank), "");
    if (rank == 1) {
      log.set_activity("forward");
      for (std::atomic<std::int64_t> i = 0;; ++i) {
      }
    }
    block_in(log, "all_gather", "layers.3");
  });
  wait_until_all_have("ready");
  ::kill(children_[2], SIGKILL);
  const std::string dead = fmt::format("rank 2 of 4 (process {} on ", children_[2]);
  for (std::int64_t rank : {0, 1, 3}) {
    EXPECT_EQ(end_of(rank), 10);
    EXPECT_THAT(log_of(rank),
                AllOf(HasSubstr(dead),
                      HasSubstr("is gone: its connection closed; this rank was at step 7")))
        << rank;
    EXPECT_TRUE(nlohmann::json::accept(file_text(folder_ / fmt::format("traces/rank_{}", rank))));
  }
  EXPECT_THAT(log_of(3), HasSubstr("step 7, in all_gather of layers.3 over dp\n"));
  EXPECT_THAT(log_of(1), HasSubstr("step 7, in forward\n"));
}

TEST_F(WatchTest, TellsThatRankZeroDied) {
  start_all(3, [&](std::int64_t, Watch&, CollectiveLog& log) -> int {
    block_in(log, "all_reduce", "loss");
  });
  wait_until_all_have("met");
  ::kill(children_[0], SIGKILL);
  for (std::int64_t rank : {1, 2}) {
    EXPECT_EQ(end_of(rank), 10);
    EXPECT_THAT(log_of(rank), HasSubstr("rank 0 of 3 is gone: its connection closed; this rank was "
                                        "before its first step, in all_reduce of loss over dp"));
  }
}

TEST_F(WatchTest, ExplainsAnExchangeThatFailedBecauseARankDied) {
  start_all(2, [&](std::int64_t rank, Watch& watch, CollectiveLog& log) -> int {
    if (rank == 1) ::raise(SIGKILL);
    {
      auto scope = log.begin("all_gather", "layers.3", 0, 8);
      scope.wait();  // fails, before the watch knows why
    }
    watch.fail("[layers.3 over dp] the exchange failed: connection reset", ExitCode::kPeerLost);
    return 77;
  });
  EXPECT_EQ(end_of(0), 10);
  EXPECT_THAT(log_of(0),
              AllOf(HasSubstr("rank 1 of 2"), HasSubstr("in all_gather of layers.3 over dp")));
}

TEST_F(WatchTest, PassesTheErrorOfARankOn) {
  start_all(3, [&](std::int64_t rank, Watch& watch, CollectiveLog& log) -> int {
    if (rank != 1) block_in(log, "all_reduce", "loss");
    watch.fail("data/a.jsonl: row 7 is torn", ExitCode::kData);
    return 14;
  });
  EXPECT_EQ(end_of(1), 14);
  for (std::int64_t rank : {0, 2}) {
    EXPECT_EQ(end_of(rank), 10);
    EXPECT_THAT(log_of(rank),
                HasSubstr("rank 1 of 3 ended: data/a.jsonl: row 7 is torn; this rank was"));
  }
}

TEST_F(WatchTest, PassesTheErrorOfRankZeroOn) {
  start_all(2, [&](std::int64_t rank, Watch& watch, CollectiveLog& log) -> int {
    if (rank == 1) block_in(log, "all_reduce", "loss");
    watch.fail("no checkpoint can be used", ExitCode::kNoUsableCheckpoint);
    return 13;
  });
  EXPECT_EQ(end_of(0), 13);
  EXPECT_EQ(end_of(1), 10);
  EXPECT_THAT(log_of(1), HasSubstr("rank 0 of 2 ended: no checkpoint can be used"));
}

TEST_F(WatchTest, LetsRanksEndByAnErrorOfTheirOwn) {
  // All find the same: none is to say that it only lost another.
  start_all(3, [&](std::int64_t rank, Watch& watch, CollectiveLog&) -> int {
    write_whole(folder_ / fmt::format("ready{}", rank), "");
    wait_until_all_have("ready");
    watch.fail("the loss is nan", ExitCode::kNonFinite);
    return 12;
  });
  for (std::int64_t rank : {0, 1, 2}) EXPECT_EQ(end_of(rank), 12) << log_of(rank);
}

TEST_F(WatchTest, ReportsAnExchangeThatFailedForNoReasonThatItKnows) {
  start_all(2, [&](std::int64_t rank, Watch& watch, CollectiveLog& log) -> int {
    if (rank == 0) block_in(log, "all_reduce", "loss");
    watch.fail("[loss over dp] the exchange failed: no route", ExitCode::kPeerLost);
    return 10;
  });
  EXPECT_EQ(end_of(1), 10);
  EXPECT_EQ(end_of(0), 10);
  EXPECT_THAT(log_of(0),
              HasSubstr("rank 1 of 2 ended: [loss over dp] the exchange failed: no route"));
}

TEST_F(WatchTest, LetsRanksFinishOneAfterTheOther) {
  start_all(3, [&](std::int64_t rank, Watch& watch, CollectiveLog&) -> int {
    // The last waits until the first has gone.
    if (rank == 2) wait_for_file(folder_ / "first_is_gone");
    watch.finish();
    return 0;
  });
  EXPECT_EQ(end_of(1), 0);
  write_whole(folder_ / "first_is_gone", "");
  EXPECT_EQ(end_of(2), 0);
  EXPECT_EQ(end_of(0), 0);
  EXPECT_EQ(log_of(0) + log_of(1) + log_of(2), "");
}

TEST_F(WatchTest, TellsRankZeroThatWaitsForTheOthersWhoDied) {
  start_all(3, [&](std::int64_t rank, Watch& watch, CollectiveLog&) -> int {
    while (rank == 2) ::pause();
    watch.finish();
    return 0;
  });
  EXPECT_EQ(end_of(1), 0);
  ::kill(children_[2], SIGKILL);
  EXPECT_EQ(end_of(0), 10);
  EXPECT_THAT(log_of(0), HasSubstr("rank 2 of 3"));
}

TEST_F(WatchTest, NamesTheRankThatDoesNotComeToACollective) {
  init_timeout_ = milliseconds(300);
  start_all(4, [&](std::int64_t rank, Watch&, CollectiveLog& log) -> int {
    log.set_step(1);
    log.begin("all_gather", "layers.3", 0, 8).end();
    log.set_activity("forward");
    while (rank == 3) ::pause();
    block_in(log, "all_reduce", "loss");
  });
  for (std::int64_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(end_of(rank), 11);
    EXPECT_THAT(log_of(rank),
                HasSubstr("no progress for 0.3 s: rank 3 has not entered all_reduce #2 of loss "
                          "over dp, and is in compute (forward)"));
  }
  EXPECT_THAT(log_of(0), AllOf(HasSubstr("\n     2     1  in all_reduce #2 of loss over dp for "),
                               HasSubstr("\n     3     1  in compute (forward) for ")));
  EXPECT_THAT(log_of(1), Not(HasSubstr("rank  step  where")));
  const auto trace = nlohmann::json::parse(file_text(folder_ / "traces/rank_2"));
  EXPECT_EQ(trace["collectives"][1]["state"], "waiting");
}

TEST_F(WatchTest, CountsByTheTrainingLimitAfterTheFirstStep) {
  train_timeout_ = milliseconds(300);
  start_all(2, [&](std::int64_t rank, Watch&, CollectiveLog& log) -> int {
    // Also in a run that goes on at another step than 1.
    log.set_step(41);
    log.set_step(42);
    while (rank == 0) ::pause();
    block_in(log, "all_reduce", "loss");
  });
  EXPECT_EQ(end_of(0), 11);
  EXPECT_EQ(end_of(1), 11);
  EXPECT_THAT(log_of(1), HasSubstr("rank 0 has not entered all_reduce #1 of loss over dp"));
}

TEST_F(WatchTest, NamesARankWhoseProcessIsStopped) {
  init_timeout_ = milliseconds(300);
  start_all(3, [&](std::int64_t rank, Watch&, CollectiveLog& log) -> int {
    if (rank == 1) ::raise(SIGSTOP);
    block_in(log, "all_reduce", "loss");
  });
  for (std::int64_t rank : {0, 2}) {
    EXPECT_EQ(end_of(rank), 11);
    EXPECT_THAT(
        log_of(rank),
        HasSubstr("rank 1 does not answer, while others wait for it in all_reduce #1 of loss"));
  }
}

TEST_F(WatchTest, NamesRankZeroWhenItsProcessIsStopped) {
  init_timeout_ = milliseconds(300);
  start_all(2, [&](std::int64_t rank, Watch&, CollectiveLog& log) -> int {
    if (rank == 0) ::raise(SIGSTOP);
    block_in(log, "all_reduce", "loss");
  });
  EXPECT_EQ(end_of(1), 11);
  EXPECT_THAT(log_of(1), HasSubstr("rank 0 of 2 does not answer"));
}

TEST_F(WatchTest, NamesRanksThatDoNotEnd) {
  init_timeout_ = milliseconds(300);
  start_all(3, [&](std::int64_t rank, Watch& watch, CollectiveLog&) -> int {
    while (rank == 1) ::pause();
    watch.finish();
    return 0;
  });
  EXPECT_EQ(end_of(2), 0);
  EXPECT_EQ(end_of(0), 11);
  EXPECT_EQ(end_of(1), 11);
  EXPECT_THAT(log_of(0), AllOf(HasSubstr("rank 1 has not ended, and rank 0 has"),
                               HasSubstr("\n     1     0  in compute")));
}

TEST_F(WatchTest, SaysWhichRanksHaveNotCome) {
  init_timeout_ = milliseconds(300);
  ranks_ = 4;
  for (std::int64_t rank : {0, 2})
    start(options_of(rank), [](std::int64_t, Watch&, CollectiveLog&) { return 0; });
  for (std::int64_t child : {0, 1}) {
    EXPECT_EQ(end_of(child), 10);
    EXPECT_THAT(log_of(child), HasSubstr("ranks 1 and 3 of 4 have not come within 0.3 s"));
  }
}

TEST_F(WatchTest, RefusesRanksThatDifferInTheirNumber) {
  ranks_ = 3;
  const auto life = [](std::int64_t, Watch&, CollectiveLog&) { return 0; };
  for (std::int64_t rank : {0, 1}) start(options_of(rank), life);
  WatchOptions odd = options_of(2);
  odd.place.world_size = odd.place.local_world_size = 4;
  start(odd, life);
  for (std::int64_t rank : {0, 2}) {
    EXPECT_EQ(end_of(rank), 2);
    EXPECT_THAT(log_of(rank),
                AllOf(HasSubstr("was started as one of 4 ranks, and rank 0 as one of 3"),
                      HasSubstr("WORLD_SIZE")));
  }
}

TEST_F(WatchTest, RefusesTwoRanksOfOneNumber) {
  ranks_ = 3;
  const auto life = [](std::int64_t, Watch&, CollectiveLog&) { return 0; };
  for (std::int64_t rank : {0, 1, 1}) start(options_of(rank), life);
  for (std::int64_t child : {0, 1, 2}) {
    EXPECT_EQ(end_of(child), 2);
    EXPECT_THAT(log_of(child), HasSubstr("were both started as rank 1"));
  }
}

TEST_F(WatchTest, TakesNoStrangerForARank) {
  ranks_ = 2;
  const auto life = [](std::int64_t, Watch& watch, CollectiveLog&) {
    watch.finish();
    return 0;
  };
  start(options_of(0), life);
  wait_for_file(folder_ / "coeus/watch/0");
  const int port = std::atoi(file_text(folder_ / "coeus/watch/0").c_str());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  for (const char* said : {"GET / HTTP/1.1\r\n\r\n", "{\"job\": 1}\n",
                           "{\"job\": \"x\", \"rank\": 1, \"world_size\": 2}\n"}) {
    const FileDescriptor stranger = connect_to("127.0.0.1", port, deadline);
    ASSERT_GT(::send(stranger.number(), said, strlen(said), 0), 0);
    pollfd waiting{stranger.number(), POLLIN, 0};
    EXPECT_EQ(::poll(&waiting, 1, 60000), 1) << "it is turned away";
  }
  const FileDescriptor silent = connect_to("127.0.0.1", port, deadline);
  const FileDescriptor long_line = connect_to("127.0.0.1", port, deadline);
  const std::string text(10000, 'x');
  ::send(long_line.number(), text.data(), text.size(), MSG_NOSIGNAL);
  start(options_of(1), life);
  EXPECT_EQ(end_of(1), 0) << log_of(1);
  EXPECT_EQ(end_of(0), 0) << log_of(0);
}

TEST_F(WatchTest, HasNothingToDoForOneRank) {
  CollectiveLog log;
  WatchOptions options;  // without a store
  Watch watch(options, log);
  watch.finish();
  watch.fail("", ExitCode::kData);
}

}  // namespace
}  // namespace coeus
