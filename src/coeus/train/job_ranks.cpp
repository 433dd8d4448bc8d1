#include "coeus/train/job_ranks.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "coeus/base/error.h"
#include "coeus/comm/peer_lost_error.h"

namespace coeus {

namespace {

c10::intrusive_ptr<c10d::Store> open_store(const RankEnvironment& environment,
                                           std::chrono::milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(environment.master_port);
  options.isServer = environment.rank == 0 && !environment.launcher_has_store;
  options.waitWorkers = false;
  options.timeout = timeout;
  options.masterListenFd = environment.store_socket;
  try {
    return c10::make_intrusive<c10d::PrefixStore>(
        fmt::format("coeus/{}", environment.restart),
        c10::make_intrusive<c10d::TCPStore>(environment.master_addr, options));
  } catch (const std::exception& error) {
    const std::string place =
        fmt::format("{}:{}", environment.master_addr, environment.master_port);
    COEUS_CHECK_CONFIG(!options.isServer,
                       "rank 0 cannot listen on {}, where the ranks meet ({}); is the port taken? "
                       "Set another MASTER_PORT",
                       place, error.what());
    throw PeerLostError(fmt::format("rank {} cannot reach rank 0 at {}, where the ranks meet: {}",
                                    environment.rank, place, error.what()));
  }
}

}  // namespace

ParallelDegrees job_degrees(const ParallelismConfig& config, int64_t world) {
  return resolved({.pp = config.pipeline_parallel_degree,
                   .dp_replicate = config.data_parallel_replicate_degree,
                   .dp_shard = config.data_parallel_shard_degree,
                   .cp = config.context_parallel_degree,
                   .tp = config.tensor_parallel_degree,
                   .ep = config.expert_parallel_degree,
                   .etp = config.expert_tensor_parallel_degree},
                  world);
}

ParallelGroups join_job(const JobConfig& config, const RankEnvironment& environment) {
  const Mesh mesh(job_degrees(config.parallelism, environment.world_size), environment.rank);
  if (mesh.world() == 1) return ParallelGroups(mesh);
  Rendezvous rendezvous;
  rendezvous.store =
      open_store(environment, std::chrono::seconds(config.comm.init_timeout_seconds));
  if (environment.one_machine()) rendezvous.host = "127.0.0.1";
  return make_parallel_groups(rendezvous, mesh);
}

}  // namespace coeus
