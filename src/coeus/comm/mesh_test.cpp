#include "coeus/comm/mesh.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "coeus/base/error.h"

namespace coeus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Mesh, NeighboursInTensorParallelismAreNeighbours) {
  const Mesh mesh({.pp = 2, .dp_replicate = 1, .dp_shard = 2, .tp = 2}, 5);
  EXPECT_EQ(mesh.pp(), 1);
  EXPECT_EQ(mesh.dp_shard(), 0);
  EXPECT_EQ(mesh.tp(), 1);
  EXPECT_THAT(mesh.tensor_ranks(), ElementsAre(4, 5));
  EXPECT_THAT(mesh.shard_ranks(), ElementsAre(5, 7));
  EXPECT_THAT(mesh.pipeline_ranks(), ElementsAre(1, 5));
  EXPECT_THAT(mesh.replicate_ranks(), ElementsAre(5));
}

TEST(Mesh, RowsAreDealtOverReplicasAndShards) {
  for (int64_t rank = 0; rank < 8; ++rank) {
    const Mesh mesh({.dp_replicate = 2, .dp_shard = 2, .tp = 2}, rank);
    EXPECT_EQ(mesh.data_ranks(), 4);
    EXPECT_EQ(mesh.data_rank(), rank / 2);
  }
}

TEST(Mesh, UnsplitExpertsTakeTheRanksOfTensorParallelism) {
  // TorchTitan's pp+fsdp+tp+ep.
  const Mesh mesh({.pp = 2, .dp_shard = 2, .tp = 2, .ep = 4}, 6);
  EXPECT_FALSE(mesh.splits_experts());
  EXPECT_THAT(mesh.expert_ranks(), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(mesh.expert_shard_ranks(), ElementsAre(6));
}

TEST(Mesh, SplitExpertsLeaveThemOut) {
  const Mesh mesh({.pp = 2, .dp_shard = 2, .tp = 2, .ep = 2, .etp = 2}, 6);
  EXPECT_TRUE(mesh.splits_experts());
  EXPECT_THAT(mesh.expert_ranks(), ElementsAre(4, 6));
  EXPECT_THAT(mesh.tensor_ranks(), ElementsAre(6, 7));
}

TEST(Mesh, ExpertsThatAreNotSpreadAreSharded) {
  const Mesh mesh({.dp_shard = 4, .ep = 2}, 1);
  EXPECT_THAT(mesh.expert_ranks(), ElementsAre(0, 1));
  EXPECT_THAT(mesh.expert_shard_ranks(), ElementsAre(1, 3));
  const Mesh plain({.dp_shard = 2, .tp = 2}, 1);
  EXPECT_EQ(plain.expert_shard_ranks(), plain.shard_ranks());
}

/// Every rank's group has the rank, and all members of a group agree on it.
TEST(Mesh, GroupsPartTheRanks) {
  const std::vector<ParallelDegrees> all = {{.dp_replicate = 2, .dp_shard = 2, .cp = 2},
                                            {.pp = 2, .dp_shard = 2, .cp = 2, .tp = 2},
                                            {.dp_replicate = 2, .dp_shard = 4, .tp = 2, .ep = 4},
                                            {.dp_shard = 4, .cp = 2, .tp = 2, .ep = 4, .etp = 2},
                                            {.pp = 3, .dp_shard = 2, .tp = 3, .ep = 6}};
  using Ranks = std::vector<int64_t> (Mesh::*)() const;
  for (const ParallelDegrees& degrees : all)
    for (const Ranks ranks :
         {&Mesh::pipeline_ranks, &Mesh::replicate_ranks, &Mesh::shard_ranks,
          &Mesh::data_group_ranks, &Mesh::loss_ranks, &Mesh::context_ranks, &Mesh::tensor_ranks,
          &Mesh::expert_ranks, &Mesh::expert_shard_ranks, &Mesh::all_ranks})
      for (int64_t rank = 0; rank < degrees.world(); ++rank) {
        const std::vector<int64_t> group = (Mesh(degrees, rank).*ranks)();
        EXPECT_TRUE(std::set<int64_t>(group.begin(), group.end()).contains(rank));
        for (const int64_t member : group) EXPECT_EQ((Mesh(degrees, member).*ranks)(), group);
      }
}

TEST(Mesh, ShardTakesTheRanksThatAreLeft) {
  EXPECT_EQ(resolved({.dp_shard = -1, .tp = 2}, 8).dp_shard, 4);
  EXPECT_EQ(resolved({.pp = 2, .dp_replicate = 2, .dp_shard = -1}, 4).dp_shard, 1);
}

TEST(Mesh, DegreesThatDoNotFitAreRefusedWithTheirNumbers) {
  const auto with = [](ParallelDegrees d, int64_t world) { return [=] { resolved(d, world); }; };
  EXPECT_THAT(with({.dp_shard = -1, .tp = 3}, 8),
              ThrowsMessage<ConfigError>(HasSubstr("do not divide the 8 ranks")));
  EXPECT_THAT(with({.dp_shard = 2, .tp = 2}, 8),
              ThrowsMessage<ConfigError>(HasSubstr("= 4) do not make the 8 ranks")));
  EXPECT_THAT(with({.dp_shard = 2, .ep = 4}, 2), ThrowsMessage<ConfigError>(HasSubstr("= 4")));
  EXPECT_THAT(with({.dp_shard = 2, .tp = 4, .ep = 2, .etp = 2}, 8),
              ThrowsMessage<ConfigError>(HasSubstr("must be 1 or")));
  EXPECT_THAT(with({.dp_shard = 2, .tp = 2, .ep = 1 * 3}, 4),
              ThrowsMessage<ConfigError>(HasSubstr("must be a multiple of")));
  EXPECT_THAT(with({.dp_shard = 0}, 1), ThrowsMessage<ConfigError>(HasSubstr("at least 1")));
}

}  // namespace
}  // namespace coeus
