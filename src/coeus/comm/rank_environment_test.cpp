#include "coeus/comm/rank_environment.h"

#include <gmock/gmock.h>

#include <map>

#include "coeus/base/error.h"

namespace coeus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Variables = std::map<std::string, std::string>;

RankEnvironment read(const Variables& variables) {
  return read_rank_environment([&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

Variables with(Variables variables, const Variables& more) {
  for (const auto& [name, value] : more) variables[name] = value;
  return variables;
}

Variables without(Variables variables, const std::string& name) {
  variables.erase(name);
  return variables;
}

const Variables kTorchrun = {{"RANK", "5"},           {"WORLD_SIZE", "8"},
                             {"LOCAL_RANK", "1"},     {"LOCAL_WORLD_SIZE", "4"},
                             {"GROUP_RANK", "1"},     {"MASTER_ADDR", "node0.lan"},
                             {"MASTER_PORT", "29501"}};

const Variables kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "1"},
                            {"OMPI_COMM_WORLD_SIZE", "2"},
                            {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                            {"PMIX_NAMESPACE", "prterun-host-77@1"}};

const Variables kSlurm = {{"SLURM_JOB_ID", "1234"},
                          {"SLURM_STEP_ID", "2"},
                          {"SLURM_PROCID", "4"},
                          {"SLURM_LOCALID", "1"},
                          {"SLURM_NODEID", "2"},
                          {"SLURM_NTASKS", "9"},
                          {"SLURM_STEP_NUM_TASKS", "5"},
                          {"SLURM_STEP_TASKS_PER_NODE", "1,2(x2)"},
                          {"SLURM_STEP_NODELIST", "rack[2-3]node[007-9,12],login"},
                          {"SLURM_LAUNCH_NODE_IPADDR", "10.0.0.9"}};

TEST(RankEnvironment, WithoutALauncherIsOneRank) {
  EXPECT_EQ(read({}), RankEnvironment{});
  EXPECT_TRUE(read({}).one_machine());
  EXPECT_EQ(read({{"MASTER_ADDR", "left.over"}, {"MASTER_PORT", "1"}}), RankEnvironment{});
}

TEST(RankEnvironment, ReadsWhatTorchrunSets) {
  const RankEnvironment place = read(kTorchrun);
  EXPECT_EQ(place.rank, 5);
  EXPECT_EQ(place.world_size, 8);
  EXPECT_EQ(place.local_rank, 1);
  EXPECT_EQ(place.local_world_size, 4);
  EXPECT_EQ(place.node_rank, 1);
  EXPECT_EQ(place.master_addr, "node0.lan");
  EXPECT_EQ(place.master_port, 29501);
  EXPECT_FALSE(place.one_machine());
  EXPECT_FALSE(place.launcher_has_store);
}

TEST(RankEnvironment, OfRanksOnOneMachineIsItsLoopbackAddress) {
  const Variables one = with(kTorchrun, {{"WORLD_SIZE", "8"}, {"LOCAL_WORLD_SIZE", "8"}});
  EXPECT_EQ(read(one).master_addr, "127.0.0.1");
  EXPECT_EQ(read(with(one, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}})).master_addr, "node0.lan")
      << "where torchrun has opened it";
}

TEST(RankEnvironment, LeavesTheStoreToTorchrunsAgent) {
  const RankEnvironment place = read(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"},
                                                      {"TORCHELASTIC_RESTART_COUNT", "3"},
                                                      {"TORCHELASTIC_RUN_ID", "none"}}));
  EXPECT_TRUE(place.launcher_has_store);
  EXPECT_EQ(place.restart, 3);
  EXPECT_EQ(place.launcher, "torchrun");
}

TEST(RankEnvironment, GivesTheLaunchersSocketToRankZeroOnly) {
  EXPECT_EQ(read(with(kTorchrun, {{"COEUS_STORE_SOCKET", "7"}})).store_socket, std::nullopt);
  EXPECT_EQ(read(with(kTorchrun, {{"COEUS_STORE_SOCKET", "7"}, {"RANK", "0"}, {"LOCAL_RANK", "0"}}))
                .store_socket,
            7);
}

TEST(RankEnvironment, RefusesWhatIsIncomplete) {
  for (const char* name :
       {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"})
    EXPECT_THAT([&] { read(without(kTorchrun, name)); },
                ThrowsMessage<ConfigError>(HasSubstr(name)));
  EXPECT_THAT(
      [] {
        read(with(kTorchrun, {{"RANK", ""}}));
      },
      ThrowsMessage<ConfigError>(HasSubstr("WORLD_SIZE is set and RANK is not")));
}

TEST(RankEnvironment, RefusesWhatCannotBe) {
  const auto refuses = [](const Variables& change, const char* why) {
    EXPECT_THAT([&] { read(with(kTorchrun, change)); }, ThrowsMessage<ConfigError>(HasSubstr(why)));
  };
  refuses({{"RANK", "8"}}, "RANK = 8 must be below WORLD_SIZE = 8");
  refuses({{"RANK", "two"}}, "RANK = \"two\" is not a whole number");
  refuses({{"RANK", "-1"}}, "RANK = \"-1\"");
  refuses({{"RANK", "1 "}}, "RANK = \"1 \"");
  refuses({{"WORLD_SIZE", "99999999999999999999"}}, "WORLD_SIZE");
  refuses({{"LOCAL_RANK", "4"}}, "LOCAL_RANK = 4, LOCAL_WORLD_SIZE = 4 cannot all be true");
  refuses({{"LOCAL_WORLD_SIZE", "9"}}, "cannot all be true");
  refuses({{"RANK", "0"}}, "RANK = 0, WORLD_SIZE = 8, LOCAL_RANK = 1");
  refuses({{"MASTER_PORT", "70000"}}, "MASTER_PORT = 70000 is not a port");
  refuses({{"MASTER_PORT", "0"}}, "MASTER_PORT = 0 is not a port");
}

TEST(RankEnvironment, OfOneRankNeedsNothingElse) {
  const RankEnvironment place = read({{"RANK", "0"}, {"WORLD_SIZE", "1"}});
  EXPECT_EQ(place.rank, 0);
  EXPECT_EQ(place.world_size, 1);
}

TEST(RankEnvironment, ReadsOpenMpiOnOneMachine) {
  const RankEnvironment place = read(kOpenMpi);
  EXPECT_EQ(place.rank, 1);
  EXPECT_EQ(place.world_size, 2);
  EXPECT_EQ(place.local_rank, 1);
  EXPECT_EQ(place.launcher, "OpenMPI");
  EXPECT_EQ(place.master_addr, "127.0.0.1");
  EXPECT_GE(place.master_port, 20000);
  EXPECT_LT(place.master_port, 32000);
  Variables first = kOpenMpi, other = kOpenMpi;
  first["OMPI_COMM_WORLD_RANK"] = first["OMPI_COMM_WORLD_LOCAL_RANK"] = "0";
  EXPECT_EQ(read(first).master_port, place.master_port) << "the ranks must agree";
  other["PMIX_NAMESPACE"] = "prterun-host-78@1";
  EXPECT_NE(read(other).master_port, place.master_port);
}

TEST(RankEnvironment, AsksForTheMasterOfMpiOverMachines) {
  const Variables two =
      with(kOpenMpi, {{"OMPI_COMM_WORLD_LOCAL_RANK", "0"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "1"}});
  EXPECT_THAT([&] { read(two); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr("MASTER_ADDR"), HasSubstr("mpirun -x"))));
  EXPECT_THAT(
      [&] {
        read(with(two, {{"MASTER_ADDR", "a"}}));
      },
      ThrowsMessage<ConfigError>(HasSubstr("needs MASTER_PORT")));
  const RankEnvironment place = read(with(two, {{"MASTER_ADDR", "a"}, {"MASTER_PORT", "77"}}));
  EXPECT_EQ(place.master_addr, "a");
  EXPECT_EQ(place.master_port, 77);
}

TEST(RankEnvironment, ReadsMpich) {
  const Variables mpich = {
      {"PMI_RANK", "2"}, {"PMI_SIZE", "3"}, {"MPI_LOCALRANKID", "2"}, {"MPI_LOCALNRANKS", "3"}};
  const RankEnvironment place = read(mpich);
  EXPECT_EQ(place.rank, 2);
  EXPECT_EQ(place.launcher, "MPICH");
  EXPECT_EQ(place.master_port, 29500);
  // Its helper on each machine was started by srun.
  EXPECT_EQ(read(with(kSlurm, mpich)).rank, 2);
  EXPECT_THAT(
      [] {
        read({{"PMI_SIZE", "3"}});
      },
      ThrowsMessage<ConfigError>(HasSubstr("PMI_SIZE is set and PMI_RANK is not")));
}

TEST(RankEnvironment, ReadsATaskOfSrun) {
  const RankEnvironment place = read(kSlurm);
  EXPECT_EQ(place.rank, 4);
  EXPECT_EQ(place.world_size, 5);
  EXPECT_EQ(place.local_rank, 1);
  EXPECT_EQ(place.local_world_size, 2);
  EXPECT_EQ(place.node_rank, 2);
  EXPECT_EQ(place.master_addr, "rack2node007");
  EXPECT_EQ(place.master_port, 20000 + (1234 * 31 + 2) % 12000);
  EXPECT_EQ(read(with(kSlurm, {{"SLURM_STEP_NODELIST", "gpu3,gpu4"}})).master_addr, "gpu3");
  EXPECT_EQ(read(without(kSlurm, "SLURM_STEP_NODELIST")).master_addr, "10.0.0.9");
  EXPECT_EQ(read(with(kSlurm, {{"PMI_RANK", "4"}, {"PMI_SIZE", "5"}})).launcher, "Slurm");
  const RankEnvironment named = read(with(kSlurm, {{"MASTER_ADDR", "m"}, {"MASTER_PORT", "5"}}));
  EXPECT_EQ(named.master_addr, "m");
  EXPECT_EQ(named.master_port, 5);
}

TEST(RankEnvironment, OfSrunOnOneMachineUsesLoopback) {
  EXPECT_EQ(
      read(with(kSlurm, {{"SLURM_NODEID", "0"}, {"SLURM_STEP_TASKS_PER_NODE", "5"}})).master_addr,
      "127.0.0.1");
}

TEST(RankEnvironment, RefusesASlurmTaskThatIsIncomplete) {
  for (const char* name : {"SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"})
    EXPECT_THAT([&] { read(without(kSlurm, name)); }, ThrowsMessage<ConfigError>(HasSubstr(name)))
        << name;
  EXPECT_THAT(
      [] {
        read(with(kSlurm, {{"SLURM_DISTRIBUTION", "arbitrary"}}));
      },
      ThrowsMessage<ConfigError>(HasSubstr("MASTER_ADDR")));
}

TEST(RankEnvironment, RefusesASlurmShellOfSeveralTasks) {
  const Variables shell = {{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}};
  const auto refused = ThrowsMessage<ConfigError>(
      AllOf(HasSubstr("SLURM_NTASKS = 4"), HasSubstr("srun"), HasSubstr("coeus launch -n 4")));
  EXPECT_THAT([&] { read(shell); }, refused);
  // A batch script is rank 0 of its own step.
  EXPECT_THAT(
      [&] {
        read(with(shell, {{"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", "4294967291"}}));
      },
      refused);
  EXPECT_EQ(read(with(shell, {{"SLURM_NTASKS", "1"}})).world_size, 1);
}

}  // namespace
}  // namespace coeus
