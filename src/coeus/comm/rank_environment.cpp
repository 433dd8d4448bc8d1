#include "coeus/comm/rank_environment.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "coeus/base/checksum.h"
#include "coeus/base/error.h"

namespace coeus {

namespace {

/// Below the range that systems take for outgoing connections.
constexpr std::int64_t kFirstDerivedPort = 20000;
constexpr std::int64_t kDerivedPorts = 12000;
constexpr int kUsualPort = 29500;

int derived_port(std::int64_t job, std::int64_t step) {
  return static_cast<int>(kFirstDerivedPort + (job * 31 + step) % kDerivedPorts);
}

/// The variables, read as what they should be.
class Variables {
 public:
  explicit Variables(const Environment& environment) : environment_(environment) {}

  /// Unset and empty are the same.
  std::optional<std::string> text(const std::string& name) const {
    std::optional<std::string> value = environment_(name);
    return value && value->empty() ? std::nullopt : value;
  }
  bool has(const std::string& name) const { return text(name).has_value(); }

  std::optional<std::int64_t> number(const std::string& name) const {
    const std::optional<std::string> value = text(name);
    if (!value) return std::nullopt;
    std::int64_t number = 0;
    const char* end = value->data() + value->size();
    const auto [stop, error] = std::from_chars(value->data(), end, number);
    COEUS_CHECK_CONFIG(error == std::errc() && stop == end && number >= 0,
                       "[rank environment] {} = \"{}\" is not a whole number from 0", name, *value);
    return number;
  }

  /// Of a variable that has to be there because `with` is.
  std::int64_t number_beside(const std::string& name, const std::string& with) const {
    const std::optional<std::int64_t> value = number(name);
    COEUS_CHECK_CONFIG(value,
                       "[rank environment] {} is set and {} is not: set both, or neither for a job "
                       "of one process",
                       with, name);
    return *value;
  }

 private:
  const Environment& environment_;
};

/// The names by which a launcher gives a rank its place.
struct Names {
  const char* rank;
  const char* world_size;
  const char* local_rank;
  const char* local_world_size;
};

RankEnvironment read_place(const Variables& variables, const Names& names) {
  RankEnvironment place;
  place.rank = variables.number_beside(names.rank, names.world_size);
  place.world_size = variables.number_beside(names.world_size, names.rank);
  COEUS_CHECK_CONFIG(place.rank < place.world_size,
                     "[rank environment] {} = {} must be below {} = {}", names.rank, place.rank,
                     names.world_size, place.world_size);
  const std::optional<std::int64_t> local_rank = variables.number(names.local_rank);
  const std::optional<std::int64_t> local_size = variables.number(names.local_world_size);
  if (place.world_size == 1) return place;
  COEUS_CHECK_CONFIG(local_rank && local_size,
                     "[rank environment] {} = {} without {}: set the number of this process among "
                     "those of its machine ({}), and how many they are ({})",
                     names.world_size, place.world_size,
                     local_rank ? names.local_world_size : names.local_rank, names.local_rank,
                     names.local_world_size);
  place.local_rank = *local_rank;
  place.local_world_size = *local_size;
  COEUS_CHECK_CONFIG(
      *local_rank < *local_size && *local_size <= place.world_size && *local_rank <= place.rank,
      "[rank environment] {} = {}, {} = {}, {} = {}, {} = {} cannot all be true", names.rank,
      place.rank, names.world_size, place.world_size, names.local_rank, *local_rank,
      names.local_world_size, *local_size);
  return place;
}

void read_master(const Variables& variables, RankEnvironment& place) {
  if (const auto address = variables.text("MASTER_ADDR")) place.master_addr = *address;
  if (const auto port = variables.number("MASTER_PORT")) {
    COEUS_CHECK_CONFIG(*port >= 1 && *port <= 65535,
                       "[rank environment] MASTER_PORT = {} is not a port (1 to 65535)", *port);
    place.master_port = static_cast<int>(*port);
  }
}

/// What a launcher that does not name rank 0's machine leaves to the user.
void require_master(const Variables& variables, const RankEnvironment& place,
                    const std::string& how) {
  if (place.world_size == 1) return;
  for (const char* name : {"MASTER_ADDR", "MASTER_PORT"})
    COEUS_CHECK_CONFIG(variables.has(name),
                       "[rank environment] a job of {} ranks on several machines, started by {}, "
                       "needs {}: {}",
                       place.world_size, place.launcher, name, how);
}

RankEnvironment torchrun_environment(const Variables& variables) {
  RankEnvironment place =
      read_place(variables, {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"});
  place.launcher = variables.text("COEUS_LAUNCH")         ? "coeus launch"
                   : variables.has("TORCHELASTIC_RUN_ID") ? "torchrun"
                                                          : "RANK and WORLD_SIZE";
  place.node_rank = variables.number("GROUP_RANK");
  read_master(variables, place);
  if (place.world_size > 1) {
    for (const char* name : {"MASTER_ADDR", "MASTER_PORT"})
      COEUS_CHECK_CONFIG(variables.has(name),
                         "[rank environment] WORLD_SIZE = {} without {}: set MASTER_ADDR to rank "
                         "0's machine and MASTER_PORT to a free port there, the same for all ranks",
                         place.world_size, name);
  }
  place.launcher_has_store = variables.text("TORCHELASTIC_USE_AGENT_STORE") == "True";
  place.restart = variables.number("TORCHELASTIC_RESTART_COUNT").value_or(0);
  if (const auto socket = variables.number("COEUS_STORE_SOCKET"); socket && place.rank == 0)
    place.store_socket = static_cast<int>(*socket);
  return place;
}

/// Ranks of an MPI job on one machine take a port that follows from the job's name, where it has
/// one that they all know, and torchrun's usual port otherwise.
void read_mpi_master(const Variables& variables, RankEnvironment& place,
                     const std::vector<const char*>& job_names, const std::string& how) {
  read_master(variables, place);
  if (place.world_size == 1) return;
  if (!place.one_machine()) return require_master(variables, place, how);
  if (place.master_port != 0) return;
  place.master_port = kUsualPort;
  for (const char* name : job_names)
    if (const auto job = variables.text(name)) {
      place.master_port = derived_port(static_cast<std::int64_t>(checksum_of(*job).low >> 16), 0);
      return;
    }
}

RankEnvironment open_mpi_environment(const Variables& variables) {
  RankEnvironment place =
      read_place(variables, {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                             "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"});
  place.launcher = "OpenMPI";
  read_mpi_master(variables, place, {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"},
                  "mpirun -x MASTER_ADDR=HOST -x MASTER_PORT=29500 …");
  return place;
}

RankEnvironment mpich_environment(const Variables& variables) {
  RankEnvironment place =
      read_place(variables, {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"});
  place.launcher = "MPICH";
  read_mpi_master(variables, place, {}, "mpiexec -genv MASTER_ADDR HOST -genv MASTER_PORT 29500 …");
  return place;
}

/// The first name of Slurm's compressed list: "rack[2-3]node[007,9],x" begins with rack2node007.
std::string first_host(std::string_view list) {
  std::string host;
  bool in_brackets = false, taken = false;
  for (const char c : list) {
    if (c == '[') {
      in_brackets = true;
      taken = false;
    } else if (c == ']') {
      in_brackets = false;
    } else if (in_brackets && (c == ',' || c == '-')) {
      taken = true;
    } else if (c == ',') {
      break;
    } else if (!in_brackets || !taken) {
      host += c;
    }
  }
  return host;
}

/// How many tasks "2(x3),1" gives to node `node`: 2, 2, 2, 1.
std::optional<std::int64_t> tasks_on_node(const std::string& list, std::int64_t node) {
  std::string_view rest = list;
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    std::int64_t tasks = 0, nodes = 1;
    const char* end = item.data() + item.size();
    const auto after = std::from_chars(item.data(), end, tasks);
    if (after.ec != std::errc()) return std::nullopt;
    if (const size_t times = item.find("(x"); times != std::string_view::npos)
      std::from_chars(item.data() + times + 2, end, nodes);
    if (node < nodes) return tasks;
    node -= nodes;
  }
  return std::nullopt;
}

/// Steps that are no `srun`: the batch script, an interactive shell and the like have the highest
/// numbers.
constexpr std::int64_t kFirstSpecialStep = 0xfffffff0;

bool is_slurm_task(const Variables& variables) {
  const std::optional<std::int64_t> step = variables.number("SLURM_STEP_ID");
  return step && *step < kFirstSpecialStep;
}

RankEnvironment slurm_environment(const Variables& variables) {
  const char* const size_name =
      variables.has("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
  const std::int64_t node = variables.number("SLURM_NODEID").value_or(0);
  // Slurm gives a node's number of tasks only in a list of all nodes'.
  const std::string tasks_name = "SLURM_STEP_TASKS_PER_NODE";
  const Environment with_local_size = [&](const std::string& name) -> std::optional<std::string> {
    if (name != tasks_name) return variables.text(name);
    const std::optional<std::string> list = variables.text(name);
    if (!list) return std::nullopt;
    const std::optional<std::int64_t> tasks = tasks_on_node(*list, node);
    return tasks ? std::to_string(*tasks) : *list;
  };
  RankEnvironment place = read_place(
      Variables(with_local_size), {"SLURM_PROCID", size_name, "SLURM_LOCALID", tasks_name.c_str()});
  place.launcher = "Slurm";
  place.node_rank = node;
  read_master(variables, place);
  if (place.world_size == 1) return place;
  if (!variables.has("MASTER_ADDR") && !place.one_machine()) {
    COEUS_CHECK_CONFIG(variables.text("SLURM_DISTRIBUTION") != "arbitrary",
                       "[rank environment] with SLURM_DISTRIBUTION = arbitrary, set MASTER_ADDR to "
                       "the machine of rank 0");
    std::optional<std::string> list = variables.text("SLURM_STEP_NODELIST");
    if (!list) list = variables.text("SLURM_JOB_NODELIST");
    if (list)
      place.master_addr = first_host(*list);
    else if (const auto address = variables.text("SLURM_LAUNCH_NODE_IPADDR"))
      place.master_addr = *address;
    else
      require_master(variables, place, "Slurm has set neither SLURM_STEP_NODELIST nor its like");
  }
  if (place.master_port == 0)
    place.master_port = derived_port(variables.number_beside("SLURM_JOB_ID", "SLURM_PROCID"),
                                     variables.number("SLURM_STEP_ID").value_or(0));
  return place;
}

/// Of the first launcher whose variables there are.
RankEnvironment launchers_environment(const Variables& variables) {
  if (variables.has("RANK") || variables.has("WORLD_SIZE")) return torchrun_environment(variables);
  // A job of MPI inside one of Slurm has Slurm's variables too, of the helper that started it.
  if (variables.has("OMPI_COMM_WORLD_RANK") || variables.has("OMPI_COMM_WORLD_SIZE"))
    return open_mpi_environment(variables);
  const bool pmi = variables.has("PMI_RANK") || variables.has("PMI_SIZE");
  if (pmi && variables.has("MPI_LOCALRANKID")) return mpich_environment(variables);
  if (is_slurm_task(variables)) return slurm_environment(variables);
  if (pmi) return mpich_environment(variables);
  const std::int64_t tasks = variables.number("SLURM_NTASKS").value_or(1);
  COEUS_CHECK_CONFIG(tasks == 1,
                     "[rank environment] this Slurm allocation is for SLURM_NTASKS = {} tasks, but "
                     "this process was not started by srun: start it as `srun coeus train …`, its "
                     "ranks on this machine alone as `coeus launch -n {} train …`, or unset "
                     "SLURM_NTASKS for a run of one process",
                     tasks, tasks);
  return {};
}

}  // namespace

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value ? std::optional<std::string>(value) : std::nullopt;
  };
}

RankEnvironment read_rank_environment(const Environment& environment) {
  RankEnvironment place = launchers_environment(Variables(environment));
  // Wherever MASTER_ADDR leads to, rank 0 then listens on this machine's loopback address alone.
  if (place.one_machine() && !place.launcher_has_store) place.master_addr = "127.0.0.1";
  return place;
}

}  // namespace coeus
