#include "coeus/comm/parallel_groups.h"

#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "coeus/base/error.h"
#include "coeus/comm/peer_lost_error.h"

namespace coeus {

namespace {

/// NCCL joins two ranks when they first exchange a message, and each waits for the other. So that
/// this happens in no schedule's midst they are joined here, one pair after the other around the
/// circle.
void join_neighbors(c10d::Backend& backend, int rank, int size, bool upwards,
                    const at::Device& device) {
  for (int first = 0; first < (size == 2 ? 1 : size); ++first) {
    const int second = (first + 1) % size;
    const int lower = std::min(first, second), higher = std::max(first, second);
    if (rank != lower && rank != higher) continue;
    std::vector<at::Tensor> greeting = {at::zeros({1}, device)};
    if ((rank == lower) == upwards)
      backend.send(greeting, rank == lower ? higher : lower, 0)->wait();
    else
      backend.recv(greeting, rank == lower ? higher : lower, 0)->wait();
  }
}

void add_device_backends(GroupBackends& backends, const Rendezvous& rendezvous,
                         const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                         Messages messages) {
  const auto backend = [&](const char* name, bool joins_all) {
    return rendezvous.device_backend(c10::make_intrusive<c10d::PrefixStore>(name, store), rank,
                                     size, joins_all);
  };
  backends.device = backend("device", /*joins_all=*/true);
  if (messages == Messages::kNone) return;
  backends.up = backend("up", /*joins_all=*/false);
  join_neighbors(*backends.up, rank, size, /*upwards=*/true, rendezvous.device);
  backends.down = backend("down", /*joins_all=*/false);
  join_neighbors(*backends.down, rank, size, /*upwards=*/false, rendezvous.device);
}

}  // namespace

std::shared_ptr<ProcessGroup> make_process_group(const Rendezvous& rendezvous,
                                                 const std::string& name,
                                                 const std::vector<int64_t>& ranks, int64_t rank,
                                                 Messages messages) {
  const auto place = std::find(ranks.begin(), ranks.end(), rank);
  COEUS_ASSERT(place != ranks.end());
  if (ranks.size() == 1) return std::make_shared<ProcessGroup>();
  using Gloo = c10d::ProcessGroupGloo;
  const auto number = static_cast<int>(place - ranks.begin());
  try {
    auto options = Gloo::Options::create(rendezvous.timeout);
    options->devices.push_back(rendezvous.host.empty()
                                   ? Gloo::createDefaultDevice()
                                   : Gloo::createDeviceForHostname(rendezvous.host));
    // The ranks tell apart groups of one name, such as the two halves of a job.
    auto store = c10::make_intrusive<c10d::PrefixStore>(
        fmt::format("{}/{}", name, fmt::join(ranks, ",")), rendezvous.store);
    const auto size = static_cast<int>(ranks.size());
    GroupBackends backends;
    backends.cpu = c10::make_intrusive<Gloo>(store, number, size, options);
    if (rendezvous.device_backend)
      add_device_backends(backends, rendezvous, store, number, size, messages);
    return std::make_shared<ProcessGroup>(name, ranks, number, std::move(backends), rendezvous.log);
  } catch (const std::exception& error) {
    throw PeerLostError(fmt::format("[{}] the ranks {} could not be joined into a group: {}", name,
                                    fmt::join(ranks, ", "), error.what()));
  }
}

ParallelGroups make_parallel_groups(const Rendezvous& rendezvous, const Mesh& mesh) {
  ParallelGroups groups(mesh);
  std::map<std::vector<int64_t>, std::shared_ptr<ProcessGroup>> made;
  const auto group = [&](const char* name, const std::vector<int64_t>& ranks) {
    std::shared_ptr<ProcessGroup>& known = made[ranks];
    // Stages of a pipeline send to each other, and ring attention does.
    const bool sends = ranks == mesh.pipeline_ranks() || ranks == mesh.context_ranks();
    if (!known)
      known = make_process_group(rendezvous, name, ranks, mesh.rank(),
                                 sends ? Messages::kToNeighbors : Messages::kNone);
    return known;
  };
  groups.world = group("world", mesh.all_ranks());
  groups.pipeline = group("pp", mesh.pipeline_ranks());
  groups.replicate = group("dp_replicate", mesh.replicate_ranks());
  groups.shard = group("dp_shard_cp", mesh.shard_ranks());
  groups.data = group("dp", mesh.data_group_ranks());
  groups.loss = group("dp_cp", mesh.loss_ranks());
  groups.context = group("cp", mesh.context_ranks());
  groups.tensor = group("tp", mesh.tensor_ranks());
  groups.expert = group("ep", mesh.expert_ranks());
  groups.expert_shard = group("dp_shard_mod_ep", mesh.expert_shard_ranks());
  groups.make_group = [rendezvous, rank = mesh.rank()](const std::string& name,
                                                       const std::vector<int64_t>& ranks,
                                                       ParallelGroups::Patience patience) {
    Rendezvous own = rendezvous;
    if (patience == ParallelGroups::Patience::kPatient) {
      own.log = nullptr;
      own.device_backend = nullptr;  // what is written comes from the CPU
      own.timeout = std::chrono::hours(24);
    }
    return make_process_group(own, name, ranks, rank);
  };
  return groups;
}

}  // namespace coeus
