// A process group for each role that ranks play together.
#pragma once

#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "coeus/comm/mesh.h"
#include "coeus/comm/process_group.h"

namespace coeus {

/// The groups that this rank is a member of; see Mesh for who is in which. Groups of the same ranks
/// are one.
struct ParallelGroups {
  explicit ParallelGroups(const Mesh& mesh) : mesh(mesh) {}

  Mesh mesh;
  using Group = std::shared_ptr<ProcessGroup>;
  Group world = std::make_shared<ProcessGroup>();
  Group pipeline = world;
  Group replicate = world;
  Group shard = world;
  Group data = world;
  Group loss = world;
  Group context = world;
  Group tensor = world;
  Group expert = world;
  Group expert_shard = world;

  /// A further group of some ranks that this one is among: all of them call it. `kPatient`: its
  /// exchanges wait for whatever its members do between them, such as writing to a disk, and are
  /// not taken for a hang however long that lasts.
  enum class Patience { kUsual, kPatient };
  std::function<Group(const std::string& name, const std::vector<int64_t>& ranks,
                      Patience patience)>
      make_group;
};

/// Makes what carries the exchanges of GPU tensors among `size` ranks, which meet in `store` and
/// all call it; `rank`: this one's place among them. See GroupBackends. `joins_all`: connects them
/// all, for collectives, before it returns; else each pair is connected by its first message.
using MakeDeviceBackend = std::function<c10::intrusive_ptr<c10d::Backend>(
    const c10::intrusive_ptr<c10d::Store>& store, int rank, int size, bool joins_all)>;

/// How ranks meet.
struct Rendezvous {
  c10::intrusive_ptr<c10d::Store> store;
  /// An address of this machine that the other ranks reach; empty: the one of its host name.
  std::string host;
  /// How long an exchange may take.
  std::chrono::milliseconds timeout = std::chrono::minutes(30);
  /// Is told what groups exchange, where there is one; outlives them.
  CollectiveLog* log = nullptr;
  /// Where ranks have a GPU each; the CPU's tensors go over Gloo.
  MakeDeviceBackend device_backend = nullptr;
  at::Device device = at::kCPU;  ///< the rank's
};

/// Whether ranks of a group send each other messages besides its collectives.
enum class Messages { kNone, kToNeighbors };

/// A group of these ranks, under a name that is its own among the job's. All members call it;
/// throws PeerLostError for one that does not come. kToNeighbors: each rank can send to the next
/// and the one before, around the end too, which on CPUs every group can do to all ranks.
std::shared_ptr<ProcessGroup> make_process_group(const Rendezvous& rendezvous,
                                                 const std::string& name,
                                                 const std::vector<int64_t>& ranks, int64_t rank,
                                                 Messages messages = Messages::kNone);

/// All groups of this rank; all ranks of the job call it.
ParallelGroups make_parallel_groups(const Rendezvous& rendezvous, const Mesh& mesh);

}  // namespace coeus
