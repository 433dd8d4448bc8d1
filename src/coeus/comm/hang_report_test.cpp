#include "coeus/comm/hang_report.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "coeus/comm/collective_log.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

/// Ranks that have done nothing yet, all with the group "dp" of all of them and "pp" of the first
/// two.
class Job {
 public:
  explicit Job(std::int64_t ranks) {
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      logs_.push_back(std::make_unique<CollectiveLog>());
      std::vector<std::int64_t> all;
      for (std::int64_t r = 0; r < ranks; ++r) all.push_back(r);
      logs_[rank]->add_group("dp", all);
      logs_[rank]->add_group("pp", {0, 1});
      logs_[rank]->set_step(7);
    }
  }
  static constexpr std::int64_t kData = 0, kPipeline = 1;

  void done(std::int64_t rank, const char* kind, const char* what, std::int64_t group = kData) {
    logs_[rank]->begin(kind, what, group, 4).end();
  }
  void waits(std::int64_t rank, const char* kind, const char* what, std::int64_t group = kData,
             std::int64_t bytes = 4) {
    scopes_.push_back(logs_[rank]->begin(kind, what, group, bytes));
    scopes_.back().wait();
  }
  void waits_on(std::int64_t rank, const char* kind, CollectiveLog::Route route) {
    scopes_.push_back(logs_[rank]->begin(kind, "activations", kPipeline, 4, route));
    scopes_.back().wait();
  }
  CollectiveLog& log(std::int64_t rank) { return *logs_[rank]; }
  void silence(std::int64_t rank) { silent_.push_back(rank); }

  HangReport explain() const {
    std::vector<std::optional<RankState>> states;
    for (const auto& log : logs_) {
      // As it arrives from another rank.
      const nlohmann::json json = log->state();
      states.push_back(nlohmann::json::parse(json.dump()).get<RankState>());
    }
    for (const std::int64_t rank : silent_) states[rank].reset();
    return explain_hang(states);
  }

 private:
  std::vector<std::unique_ptr<CollectiveLog>> logs_;
  std::vector<std::int64_t> silent_;
  std::vector<CollectiveLog::Scope> scopes_;
};

TEST(HangReport, NamesTheRankThatHasNotEntered) {
  Job job(4);
  for (int rank = 0; rank < 4; ++rank) job.done(rank, "all_gather", "layers.3");
  for (int rank : {0, 1, 3}) job.waits(rank, "all_reduce", "loss");
  job.log(2).set_activity("forward");
  const HangReport report = job.explain();
  EXPECT_THAT(
      report.cause,
      ContainsRegex("^rank 2 has not entered all_reduce #2 of loss over dp, and is "
                    "in compute \\(forward\\) for 0.0 s after all_gather #1 of layers.3 over dp$"));
  EXPECT_THAT(report.table, HasSubstr("\n     2     7  in compute (forward) for 0.0 s"));
  EXPECT_THAT(report.table,
              HasSubstr("\n     3     7  in all_reduce #2 of loss over dp for 0.0 s"));
}

TEST(HangReport, BlamesNotTheRankThatWaitsItself) {
  Job job(3);
  job.waits(2, "all_reduce", "loss");
  job.waits(0, "all_gather", "layers.0", Job::kPipeline);
  EXPECT_THAT(job.explain().cause,
              AllOf(HasSubstr("rank 1 has not entered"),
                    HasSubstr("all_gather #1 of layers.0 over pp"), Not(HasSubstr("rank 0"))));
}

TEST(HangReport, NamesTheRankThatDoesNotAnswer) {
  Job job(3);
  for (int rank : {0, 2}) job.waits(rank, "all_reduce", "loss");
  job.silence(1);
  EXPECT_THAT(job.explain().cause,
              "rank 1 does not answer, while others wait for it in all_reduce #1 of loss over dp");
  EXPECT_THAT(job.explain().table, HasSubstr("\n     1     ?  does not answer"));
}

TEST(HangReport, NamesARankOnceForAllThatItIsLateFor) {
  Job job(3);
  job.waits(2, "all_reduce", "loss");
  job.waits(0, "all_gather", "layers.0", Job::kPipeline);
  job.silence(1);
  const std::string cause = job.explain().cause;
  EXPECT_EQ(cause,
            "rank 1 does not answer, while others wait for it in all_reduce #1 of loss over dp and "
            "all_gather #1 of layers.0 over pp");
}

TEST(HangReport, CountsACollectiveThatWasBegunAndIsNotWaitedForAsEntered) {
  Job job(2);
  job.waits(0, "all_gather", "layers.0");
  const auto prefetch = job.log(1).begin("all_gather", "layers.0", Job::kData, 4);
  EXPECT_THAT(job.explain().cause, HasSubstr("all of its ranks are in all_gather #1 of layers.0"));
}

TEST(HangReport, NamesRanksThatExchangeDifferentThings) {
  Job kinds(2), sizes(2);
  kinds.waits(0, "all_gather", "layers.0");
  kinds.waits(1, "all_reduce", "loss");
  EXPECT_THAT(kinds.explain().cause,
              AllOf(HasSubstr("exchange different things"), HasSubstr("all_reduce #1 of loss"),
                    HasSubstr("all_gather #1 of layers.0")));
  sizes.waits(0, "all_gather", "layers.0", Job::kData, 4);
  sizes.waits(1, "all_gather", "layers.0", Job::kData, 8);
  EXPECT_THAT(sizes.explain().cause, AllOf(HasSubstr("(4 bytes)"), HasSubstr("(8 bytes)")));
}

TEST(HangReport, LetsRanksSendDifferentNumbersOfBytesToAll) {
  Job job(2);
  job.waits(0, "all_to_all", "tokens", Job::kData, 4);
  job.waits(1, "all_to_all", "tokens", Job::kData, 8);
  EXPECT_THAT(job.explain().cause, HasSubstr("what they send does not arrive"));
}

TEST(HangReport, NamesACircle) {
  Job job(2);
  job.waits(0, "all_gather", "layers.0", Job::kData);
  job.waits(1, "all_gather", "layers.1", Job::kPipeline);
  EXPECT_THAT(job.explain().cause,
              AllOf(HasSubstr("wait for each other"),
                    HasSubstr("rank 0 in all_gather #1 of layers.0 over dp for rank 1"),
                    HasSubstr("rank 1 in all_gather #1 of layers.1 over pp for rank 0")));
}

TEST(HangReport, NamesASenderThatHasNotSent) {
  Job job(3);
  job.waits_on(1, "receive", {.from = 0, .to = 1, .tag = 5});
  EXPECT_THAT(
      job.explain().cause,
      HasSubstr("rank 0 has not entered receive #1 of activations over pp from rank 0 to 1"));
  // What it sends under another tag is not it.
  job.log(0).begin("send", "activations", Job::kPipeline, 4, {.from = 0, .to = 1, .tag = 6}).end();
  EXPECT_THAT(job.explain().cause, HasSubstr("rank 0 has not entered"));
  job.log(0).begin("send", "activations", Job::kPipeline, 4, {.from = 0, .to = 1, .tag = 5}).end();
  EXPECT_THAT(job.explain().cause, HasSubstr("does not arrive"));
}

TEST(RanksText, ListsRanks) {
  EXPECT_EQ(ranks_text({3}), "rank 3");
  EXPECT_EQ(ranks_text({1, 3}), "ranks 1 and 3");
  EXPECT_EQ(ranks_text({0, 1, 2, 3, 4, 5, 6, 7}), "ranks 0, 1, 2, 3, 4, 5, 6 and 7");
  EXPECT_EQ(ranks_text({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}), "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
}

}  // namespace
}  // namespace coeus
