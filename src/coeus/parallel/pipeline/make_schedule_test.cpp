#include "coeus/parallel/pipeline/make_schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "coeus/base/error.h"
#include "coeus/parallel/pipeline/simulate.h"

namespace coeus {
namespace {

std::vector<std::string> texts(const std::vector<Action>& actions) {
  std::vector<std::string> all;
  for (const Action& action : actions) all.push_back(action_text(action));
  return all;
}

/// Calls f(schedule, ranks, stages a rank, micro-batches) for many sizes of one schedule.
template <class F>
void for_many_sizes(const std::string& name, F f) {
  const int64_t fixed = schedule_traits(name).stages_per_rank;
  for (int64_t ranks = 1; ranks <= 8; ++ranks)
    for (int64_t per_rank = fixed == 0 ? 1 : fixed; per_rank <= (fixed == 0 ? 4 : fixed);
         ++per_rank)
      for (const int64_t n : {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17, 24, 31})
        f(make_schedule(name, ranks, per_rank, n), ranks, per_rank, n);
}

const std::vector<std::string> kNames = {
    "1F1B", "GPipe", "Interleaved1F1B", "LoopedBFS", "InterleavedZeroBubble", "ZBVZeroBubble"};

class EverySchedule : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(MakeSchedule, EverySchedule, testing::ValuesIn(kNames),
                         [](const auto& info) {
                           return info.param == "1F1B" ? "OneForwardOneBackward" : info.param;
                         });

TEST_P(EverySchedule, CanBeExecutedWhateverTheSizes) {
  for_many_sizes(GetParam(),
                 [](const PipelineSchedule& schedule, int64_t ranks, int64_t per_rank, int64_t n) {
                   const auto mistake = find_mistake(schedule);
                   EXPECT_FALSE(mistake) << schedule.name << " " << ranks << " ranks, " << per_rank
                                         << " stages a rank, " << n << " micro-batches, rank "
                                         << mistake->rank << ": " << mistake->complaint;
                 });
}

TEST_P(EverySchedule, KeepsNoMoreForwardPassesThanItsBound) {
  for_many_sizes(GetParam(),
                 [](const PipelineSchedule& schedule, int64_t ranks, int64_t per_rank, int64_t n) {
                   for (int64_t rank = 0; rank < ranks; ++rank) {
                     const int64_t most = most_in_flight(schedule, rank);
                     EXPECT_LE(most, n * per_rank);
                     if (schedule.name == "1F1B") {
                       EXPECT_LE(most, schedule.stages - rank);
                     }
                     // Megatron's bound and what the rounds being uneven by one adds.
                     if (schedule.name == "Interleaved1F1B") {
                       EXPECT_LE(most, (per_rank - 1) * 2 * ranks + 2 * (ranks - 1 - rank) + 1);
                     }
                     if (schedule.name == "ZBVZeroBubble") {
                       EXPECT_LE(most, 2 * ranks);
                     }
                   }
                 });
}

TEST_P(EverySchedule, HasStagesInALoopOrAV) {
  for_many_sizes(GetParam(), [](const PipelineSchedule& schedule, int64_t ranks, int64_t, int64_t) {
    const std::vector<int64_t> rank_of = schedule.rank_of_stage();
    for (int64_t stage = 0; stage < schedule.stages; ++stage) {
      const bool upwards = schedule.name == "ZBVZeroBubble" && stage >= ranks;
      EXPECT_EQ(rank_of[stage], upwards ? 2 * ranks - 1 - stage : stage % ranks);
    }
  });
}

double bubble(const std::string& name, int64_t ranks, int64_t per_rank, int64_t n) {
  return simulate(make_schedule(name, ranks, per_rank, n)).bubble();
}

TEST(MakeSchedule, BubblesAreTheFormulas) {
  for (int64_t p = 1; p <= 8; ++p) {
    for (int64_t n = 1; n <= 24; ++n) {
      const auto expected = static_cast<double>(p - 1) / static_cast<double>(n + p - 1);
      EXPECT_NEAR(bubble("GPipe", p, 1, n), expected, 1e-12) << p << " ranks " << n;
      EXPECT_NEAR(bubble("1F1B", p, 1, n), expected, 1e-12) << p << " ranks " << n;
    }
    for (int64_t v = 1; v <= 4; ++v)
      for (int64_t rounds = 1; rounds <= 4; ++rounds) {
        const int64_t n = rounds * p;
        const auto expected = static_cast<double>(p - 1) / static_cast<double>(n * v + p - 1);
        EXPECT_NEAR(bubble("Interleaved1F1B", p, v, n), expected, 1e-12)
            << p << " ranks, " << v << " stages a rank, " << n << " micro-batches";
      }
  }
}

TEST(MakeSchedule, BreadthFirstWaitsAsLittleAsInterleaved) {
  for (int64_t p = 1; p <= 8; ++p)
    for (int64_t v = 1; v <= 4; ++v)
      for (int64_t n = p; n <= 3 * p; ++n)
        EXPECT_NEAR(bubble("LoopedBFS", p, v, n),
                    static_cast<double>(p - 1) / static_cast<double>(n * v + p - 1), 1e-12)
            << p << " ranks, " << v << " stages a rank, " << n << " micro-batches";
}

TEST(MakeSchedule, OfZeroBubbleSchedulesOnlyTheRampIsLeft) {
  // The last rank begins p - 1 forward passes later than the first.
  const auto ramp = [](int64_t p, int64_t v, int64_t n) {
    return static_cast<double>(p - 1) / static_cast<double>(3 * v * n + p - 1);
  };
  for (int64_t p = 2; p <= 8; ++p) {
    for (int64_t v = 2; v <= 4; ++v)
      for (const int64_t n : {p, 2 * p, 3 * p, 4 * p})
        EXPECT_NEAR(bubble("InterleavedZeroBubble", p, v, n), ramp(p, v, n), 1e-12)
            << p << " ranks, " << v << " stages a rank, " << n << " micro-batches";
    for (int64_t n = 2 * p; n <= 4 * p; ++n)
      EXPECT_NEAR(bubble("ZBVZeroBubble", p, 2, n), ramp(p, 2, n), 1e-12) << p << " ranks " << n;
  }
}

TEST(MakeSchedule, IsWhatTheNameMeans) {
  using testing::ElementsAre;
  EXPECT_THAT(texts(make_schedule("GPipe", 2, 1, 3).ranks[1]),
              ElementsAre("1F0", "1F1", "1F2", "1B0", "1B1", "1B2"));
  EXPECT_THAT(texts(make_schedule("1F1B", 3, 1, 4).ranks[0]),
              ElementsAre("0F0", "0F1", "0F2", "0B0", "0F3", "0B1", "0B2", "0B3"));
  EXPECT_THAT(texts(make_schedule("1F1B", 3, 1, 4).ranks[2]),
              ElementsAre("2F0", "2B0", "2F1", "2B1", "2F2", "2B2", "2F3", "2B3"));
  EXPECT_THAT(texts(make_schedule("LoopedBFS", 2, 2, 2).ranks[0]),
              ElementsAre("0F0", "0F1", "2F0", "2F1", "2B1", "2B0", "0B1", "0B0"));
  EXPECT_THAT(texts(make_schedule("Interleaved1F1B", 2, 2, 4).ranks[1]),
              ElementsAre("1F0", "1F1", "3F0", "3B0", "3F1", "3B1", "1F2", "1B0", "1F3", "1B1",
                          "3F2", "3B2", "3F3", "3B3", "1B2", "1B3"));
  EXPECT_THAT(texts(make_schedule("InterleavedZeroBubble", 2, 1, 3).ranks[1]),
              ElementsAre("1F0", "1I0", "1F1", "1I1", "1W0", "1F2", "1I2", "1W1", "1W2"));
  EXPECT_THAT(texts(make_schedule("ZBVZeroBubble", 2, 2, 3).ranks[0]),
              ElementsAre("0F0", "0F1", "0F2", "3F0", "3I0", "3W0", "3F1", "3I1", "3W1", "0I0",
                          "0W0", "3F2", "3I2", "3W2", "0I1", "0W1", "0I2", "0W2"));
}

TEST(MakeSchedule, RefusesNumbersThatItDoesNotTake) {
  EXPECT_THROW(make_schedule("1F1B", 2, 2, 4), ConfigError);
  EXPECT_THROW(make_schedule("ZBVZeroBubble", 2, 1, 4), ConfigError);
  EXPECT_THROW(make_schedule("DualPipeV", 2, 2, 4), ConfigError);
  EXPECT_THROW(make_schedule("1F1B", 2, 1, 0), Error);
}

TEST(Simulate, TakesTheTimesThatItIsGiven) {
  const PipelineSchedule schedule = make_schedule("GPipe", 2, 1, 1);
  EXPECT_EQ(
      simulate(schedule, {.forward = 2, .input_gradient = 3, .weight_gradient = 4}).makespan(),
      2 * 2 + 2 * 7);
}

}  // namespace
}  // namespace coeus
