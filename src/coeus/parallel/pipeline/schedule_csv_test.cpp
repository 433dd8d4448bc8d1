#include "coeus/parallel/pipeline/schedule_csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coeus/base/error.h"
#include "coeus/parallel/pipeline/make_schedule.h"

namespace coeus {
namespace {

using testing::HasSubstr;

std::string refusal(const std::string& text) {
  try {
    schedule_from_csv(text, "own.csv");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ScheduleCsv, ReadsPyTorchsForm) {
  const PipelineSchedule schedule =
      schedule_from_csv("0F0, 0F1,,,0B0,,0B1\r\n,1F0,1F1,1I0,1W0,1I1,1W1\n\n", "own.csv");
  EXPECT_EQ(schedule.stages, 2);
  EXPECT_EQ(schedule.micro_batches, 2);
  ASSERT_EQ(schedule.rank_count(), 2);
  EXPECT_EQ(action_text(schedule.ranks[0][2]), "0B0");
  EXPECT_EQ(schedule.ranks[1][5], (Action{ActionKind::kWeightGradient, 1, 1}));
}

TEST(ScheduleCsv, WhatIsWrittenIsReadBack) {
  for (const char* name : {"Interleaved1F1B", "InterleavedZeroBubble", "LoopedBFS"}) {
    const PipelineSchedule schedule = make_schedule(name, 3, 2, 7);
    EXPECT_EQ(schedule_from_csv(csv_of_schedule(schedule), "own.csv").ranks, schedule.ranks);
  }
}

TEST(ScheduleCsv, MistakesAreNamedWithLineAndColumn) {
  EXPECT_EQ(refusal(""),
            "own.csv: there is no action; write a line for each rank, such as 0F0,0B0");
  EXPECT_THAT(refusal("0F0,0X0\n"), HasSubstr("line 1, column 2: \"0X0\" is no action"));
  EXPECT_THAT(refusal("0F0,0B0,0F\n"), HasSubstr("line 1, column 3: \"0F\""));
  EXPECT_THAT(refusal("0F0,0B99999999999\n"), HasSubstr("column 2"));
  EXPECT_THAT(refusal("0F0,0F0,0B0\n"),
              HasSubstr("line 1, column 2 (rank 0): 0F0 stands there twice"));
  EXPECT_THAT(refusal("\n,0B0,0F0\n"), HasSubstr("line 2, column 2 (rank 0): 0B0 needs 0F0"));
  EXPECT_THAT(refusal("0F0,0W0,0I0\n"), HasSubstr("column 2 (rank 0): 0W0 needs 0I0"));
  EXPECT_THAT(refusal("0F0,0I0,0B0\n"), HasSubstr("0B0 is done by 0I0"));
  EXPECT_THAT(refusal("0F0,0B0,0W0\n"), HasSubstr("0W0 is done by 0B0"));
  EXPECT_THAT(refusal("0F0,0I0\n"), HasSubstr("line 1 (rank 0): 0W0 is missing"));
  EXPECT_THAT(refusal("0F0\n"), HasSubstr("line 1 (rank 0): 0B0 is missing"));
  EXPECT_THAT(refusal("0F0,0B0\n1F0,1F1,1B0,1B1\n"), HasSubstr("line 1 (rank 0): 0F1 is missing"));
  EXPECT_THAT(refusal("0F0,0B0\n2F0,2B0\n"), HasSubstr("no rank has stage 1 of 3"));
  EXPECT_THAT(refusal("0F0,0B0\n1F0,0F1,1B0\n"),
              HasSubstr("line 2, column 2 (rank 1): 0F1 is of stage 0, which rank 0 has"));
}

TEST(ScheduleCsv, RanksThatWaitForEachOtherAreFound) {
  // The second rank wants micro-batch 1 first, whose forward pass comes after 0B0.
  EXPECT_THAT(refusal("0F0,0B0,0F1,0B1\n1F1,1B1,1F0,1B0\n"),
              HasSubstr("line 1, column 2 (rank 0): 0B0 waits for 1B0 of rank 1"));
}

}  // namespace
}  // namespace coeus
