#include "coeus/train/metrics/communication_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace coeus {
namespace {

TEST(CommunicationTable, HasTheMeanOfEachKindAndGroup) {
  CollectiveLog log;
  EXPECT_EQ(communication_table(log, 3), "");
  const int64_t group = log.add_group("dp_shard_cp", {0, 1});
  for (int i = 0; i < 6; ++i) log.begin("all_gather", "layers", group, 1 << 20).end();
  const std::string table = communication_table(log, 3);
  EXPECT_THAT(table, testing::ContainsRegex("all_gather +dp_shard_cp +2.0 +2.000 "));
}

}  // namespace
}  // namespace coeus
