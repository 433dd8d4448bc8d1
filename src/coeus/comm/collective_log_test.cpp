#include "coeus/comm/collective_log.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "coeus/base/error.h"
#include "coeus/base/temporary_folder.h"

namespace coeus {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Clock = CollectiveLog::Clock;

TEST(CollectiveLog, NumbersTheCollectivesOfEachGroup) {
  CollectiveLog log;
  const auto dp = log.add_group("dp", {0, 1}), tp = log.add_group("tp", {0, 2});
  log.begin("all_gather", "layers.0", dp, 8).end();
  log.begin("all_gather", "layers.0", tp, 8).end();
  const auto open = log.begin("all_reduce", "loss", dp, 4);
  const RankState state = log.state();
  ASSERT_EQ(state.open.size(), 1u);
  EXPECT_EQ(state.open[0].name, "all_reduce #2 of loss over dp");
  EXPECT_EQ(state.open[0].ranks, (std::vector<std::int64_t>{0, 1}));
  EXPECT_EQ(state.last_ended, "all_gather #1 of layers.0 over tp");
  EXPECT_EQ(state.begun.at(state.open[0].channel), 2);
}

TEST(CollectiveLog, KnowsWhatTheRankIsBlockedIn) {
  CollectiveLog log;
  const auto dp = log.add_group("dp", {0, 1});
  EXPECT_EQ(log.place(), "in compute");
  log.set_activity("forward");
  EXPECT_EQ(log.place(), "in forward");
  auto prefetch = log.begin("all_gather", "layers.1", dp, 8);
  EXPECT_EQ(log.place(), "in forward");
  EXPECT_EQ(log.longest_wait(), Clock::duration::zero());
  prefetch.wait();
  EXPECT_EQ(log.place(), "in all_gather of layers.1 over dp");
  const Clock::time_point before = Clock::now();
  while (Clock::now() == before) {
  }
  EXPECT_GT(log.longest_wait(), Clock::duration::zero());
  EXPECT_LT(log.longest_wait(Clock::now()), log.longest_wait()) << "time before a freeze";
  prefetch.end();
  EXPECT_EQ(log.place(), "in forward");
  EXPECT_EQ(log.longest_wait(), Clock::duration::zero());
}

TEST(CollectiveLog, IsBlockedInWhatAGpuWaitsForUntilThatIsOver) {
  CollectiveLog log;
  const auto dp = log.add_group("dp", {0, 1});
  bool is_over = false;
  {
    auto scope = log.begin("all_reduce", "gradients", dp, 8);
    scope.wait();
    scope.end_when([&] { return is_over; });
  }
  EXPECT_EQ(log.place(), "in all_reduce of gradients over dp");
  ASSERT_EQ(log.state().open.size(), 1u);
  EXPECT_TRUE(log.state().open[0].waiting);
  is_over = true;
  EXPECT_EQ(log.place(), "in compute");
  EXPECT_TRUE(log.state().open.empty());
  EXPECT_EQ(log.longest_wait(), Clock::duration::zero());
  // The next one finds it ended, and asks no more.
  log.begin("all_reduce", "loss", dp, 4).end();
  is_over = false;
  EXPECT_TRUE(log.state().open.empty());
  EXPECT_EQ((log.volume().at({"all_reduce", "dp"}).calls), 2);
  EXPECT_EQ((log.volume().at({"all_reduce", "dp"}).waited_seconds), 0);
}

TEST(CollectiveLog, RemembersWhatFailedUntilTheRankGoesOn) {
  CollectiveLog log;
  const auto dp = log.add_group("dp", {0, 1});
  {
    auto scope = log.begin("reduce_scatter", "layers.2", dp, 8);
    scope.wait();
  }
  EXPECT_EQ(log.place(), "in reduce_scatter of layers.2 over dp");
  log.begin("all_gather", "layers.1", dp, 8).end();
  EXPECT_EQ(log.place(), "in compute");
}

TEST(CollectiveLog, HandsAScopeOn) {
  CollectiveLog log;
  const auto dp = log.add_group("dp", {0, 1});
  CollectiveLog::Scope kept;
  kept.wait();  // of nothing
  {
    CollectiveLog::Scope first = log.begin("all_gather", "a", dp, 8);
    kept = std::move(first);
  }
  EXPECT_EQ(log.state().open.size(), 1u);
  kept = log.begin("all_gather", "b", dp, 8);
  ASSERT_EQ(log.state().open.size(), 1u) << "what it held has failed";
  EXPECT_EQ(log.state().open[0].name, "all_gather #2 of b over dp");
}

TEST(CollectiveLog, CountsBytesByKindAndGroup) {
  CollectiveLog log;
  const auto dp = log.add_group("dp", {0, 1}), tp = log.add_group("tp", {0, 2});
  log.begin("all_gather", "a", dp, 8).end();
  log.begin("all_gather", "b", dp, 16).end();
  log.begin("all_gather", "a", tp, 1).end();
  log.begin("send", "a", dp, 2, {.from = 0, .to = 1}).end();
  const auto volume = log.volume();
  ASSERT_EQ(volume.size(), 3u);
  EXPECT_EQ(volume.at({"all_gather", "dp"}).calls, 2);
  EXPECT_EQ(volume.at({"all_gather", "dp"}).bytes, 24);
  EXPECT_EQ(volume.at({"all_gather", "tp"}).bytes, 1);
  EXPECT_EQ(volume.at({"send", "dp"}).bytes, 2);
}

nlohmann::json written(const CollectiveLog& log) { return nlohmann::json::parse(log.to_json(3)); }

TEST(CollectiveLog, WritesItsLastCollectives) {
  CollectiveLog log(2);
  const auto dp = log.add_group("dp", {0, 3});
  log.set_step(7);
  for (const char* what : {"a", "b", "c"}) log.begin("all_gather", what, dp, 8).end();
  auto open = log.begin("send", "d", dp, 8, {.from = 3, .to = 0, .tag = 2});
  open.wait();
  const nlohmann::json json = written(log);
  EXPECT_EQ(json["rank"], 3);
  EXPECT_EQ(json["step"], 7);
  EXPECT_EQ(json["groups"][0]["ranks"], (std::vector<int>{0, 3}));
  ASSERT_EQ(json["collectives"].size(), 3u);
  EXPECT_EQ(json["collectives"][0]["what"], "b");
  EXPECT_EQ(json["collectives"][0]["sequence"], 2);
  EXPECT_EQ(json["collectives"][0]["state"], "ended");
  EXPECT_EQ(json["collectives"][2]["state"], "waiting");
  EXPECT_EQ(json["collectives"][2]["tag"], 2);
}

TEST(CollectiveLog, WithoutARingStillKnowsWhatIsOpen) {
  CollectiveLog log(0);
  const auto dp = log.add_group("dp", {0, 1});
  log.begin("all_gather", "a", dp, 8).end();
  const auto open = log.begin("all_gather", "b", dp, 8);
  const nlohmann::json json = written(log);
  ASSERT_EQ(json["collectives"].size(), 1u);
  EXPECT_EQ(json["collectives"][0]["what"], "b");
}

TEST(CollectiveLog, MakesTheFolderOfItsFile) {
  const TemporaryFolder folder;
  const CollectiveLog log;
  log.write(folder / "traces/rank_0", 0);
  EXPECT_EQ(nlohmann::json::parse(file_text(folder / "traces/rank_0"))["rank"], 0);
  EXPECT_THAT([&] { log.write(folder / "traces", 0); },
              ThrowsMessage<Error>(HasSubstr("cannot write")));
}

TEST(CollectiveLog, TakesManyThreads) {
  CollectiveLog log(100);
  const auto dp = log.add_group("dp", {0, 1});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        auto scope = log.begin("all_gather", "a", dp, 1);
        scope.wait();
        if (i % 10 == 0) log.state();
        scope.end();
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(log.volume().at({"all_gather", "dp"}).bytes, 4000);
  EXPECT_EQ(log.state().begun.begin()->second, 4000);
  EXPECT_TRUE(log.state().open.empty());
}

}  // namespace
}  // namespace coeus
