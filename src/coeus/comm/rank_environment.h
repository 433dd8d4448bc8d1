// Which rank of which job this process is, as whoever started it says.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace coeus {

/// The value of an environment variable, or nothing.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

/// The environment of this process.
Environment process_environment();

/// A process's place in its job, and where rank 0's store is.
struct RankEnvironment {
  std::int64_t rank = 0;
  std::int64_t world_size = 1;
  std::int64_t local_rank = 0;            ///< among the job's ranks on this machine
  std::int64_t local_world_size = 1;      ///< the job's ranks on this machine
  std::optional<std::int64_t> node_rank;  ///< the number of this machine, where it is known
  std::string master_addr = "127.0.0.1";  ///< rank 0's machine
  int master_port = 0;                    ///< of the store there; 0 in a job of one rank
  /// Whether the launcher runs the store (torchrun's agent does); rank 0 starts it otherwise.
  bool launcher_has_store = false;
  /// How often torchrun has restarted the job: no two tries may read each other's keys.
  std::int64_t restart = 0;
  /// Rank 0 of `coeus launch`: a socket that listens on master_port already.
  std::optional<int> store_socket;
  std::string launcher = "none";  ///< who started it: "torchrun", "OpenMPI", "Slurm", …

  /// All ranks are on one machine: nothing but its loopback address is needed.
  bool one_machine() const { return local_world_size == world_size; }
  bool operator==(const RankEnvironment&) const = default;
};

/// Reads what torchrun or `coeus launch` (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE,
/// GROUP_RANK, MASTER_ADDR, MASTER_PORT), OpenMPI's mpirun (OMPI_COMM_WORLD_*), MPICH's
/// (PMI_RANK, PMI_SIZE, MPI_LOCALRANKID, MPI_LOCALNRANKS) or Slurm's srun (SLURM_PROCID and so on)
/// have set; the first of them that there is. Without any, the process is rank 0 of 1.
/// MASTER_ADDR and MASTER_PORT count under each of them, but that ranks on one machine meet at
/// 127.0.0.1. Where they are not set, srun's ranks meet on the step's first node, and the port
/// follows from the job's number. Throws ConfigError for variables that are incomplete or
/// contradict each other.
RankEnvironment read_rank_environment(const Environment& environment = process_environment());

}  // namespace coeus
