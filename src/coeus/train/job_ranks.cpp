#include "coeus/train/job_ranks.h"

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "coeus/base/config_text.h"
#include "coeus/comm/peer_lost_error.h"
#include "coeus/comm/rendezvous.h"
#include "coeus/ops/cuda_library.h"
#include "coeus/train/job_device.h"

namespace coeus {

namespace {

using std::chrono::seconds;

c10::intrusive_ptr<c10d::Store> open_store(const RankEnvironment& environment,
                                           std::chrono::milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(environment.master_port);
  options.isServer = environment.rank == 0 && !environment.launcher_has_store;
  options.waitWorkers = false;
  options.timeout = timeout;
  if (options.isServer)
    options.masterListenFd = store_socket(environment).socket.release();
  else
    wait_for_store(environment, timeout);
  try {
    // A job that torchrun starts again finds nothing of the one before.
    return c10::make_intrusive<c10d::PrefixStore>(
        fmt::format("coeus/{}", environment.restart),
        c10::make_intrusive<c10d::TCPStore>(environment.master_addr, options));
  } catch (const std::exception& error) {
    throw PeerLostError(fmt::format("the ranks' store at {}:{} cannot be used: {}",
                                    environment.master_addr, environment.master_port,
                                    error.what()));
  }
}

WatchOptions watch_options(const JobConfig& config, const RankEnvironment& environment,
                           const c10::intrusive_ptr<c10d::Store>& store) {
  WatchOptions options;
  options.place = environment;
  options.init_timeout = seconds(config.comm.init_timeout_seconds);
  options.train_timeout = seconds(config.comm.train_timeout_seconds);
  options.trace_file =
      std::filesystem::path(config.job.dump_folder) / config.comm.save_traces_folder /
      fmt::format("{}{}.json", config.comm.save_traces_file_prefix, environment.rank);
  options.publish = [store](const std::string& key, const std::string& value) {
    store->set(key, std::vector<uint8_t>(value.begin(), value.end()));
  };
  options.lookup = [store](const std::string& key) {
    const std::vector<uint8_t> value = store->get(key);
    return std::string(value.begin(), value.end());
  };
  return options;
}

/// Every key and its value, but for what may differ among machines, and what came of it.
std::map<std::string, std::string> values_of(const JobConfig& config, const at::Device& device) {
  JobConfig copy = config;
  copy.job.config_file.reset();
  ConfigSchema schema;
  describe(copy, schema);
  std::map<std::string, std::string> values;
  for (const ConfigField& field : schema.fields()) values[field.key()] = field_to_toml(field);
  values["the device of job.device"] = c10::DeviceTypeName(device.type(), /*lower_case=*/true);
  return values;
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

JobRanks::JobRanks(const JobConfig& config)
    : device_(job_device(config, environment_)),
      log_(std::make_unique<CollectiveLog>()),
      groups_(std::make_unique<ParallelGroups>(Mesh({}, 0))) {}

JobRanks::JobRanks(const JobConfig& config, const RankEnvironment& environment)
    : environment_(environment),
      device_(job_device(config, environment)),
      log_(std::make_unique<CollectiveLog>(static_cast<std::size_t>(config.comm.trace_buf_size))) {
  const Mesh mesh(job_degrees(config.parallelism, environment.world_size), environment.rank);
  if (mesh.world() == 1) {
    groups_ = std::make_unique<ParallelGroups>(mesh);
    return;
  }
  Rendezvous rendezvous;
  rendezvous.store = open_store(environment, seconds(config.comm.init_timeout_seconds));
  if (environment.one_machine()) rendezvous.host = "127.0.0.1";
  rendezvous.log = log_.get();
  watch_ = std::make_unique<Watch>(watch_options(config, environment, rendezvous.store), *log_);
  try {
    // Before any other group, whose making hangs when ranks do not agree how.
    const auto all = make_process_group(rendezvous, "start", mesh.all_ranks(), mesh.rank());
    check_same_everywhere(values_of(config, device_), [&](const std::string& own) {
      return all->all_gather_text(own, "configuration");
    });
    if (!device_.is_cpu()) {
      rendezvous.device = device_;
      rendezvous.device_backend = [device = device_](const auto& store, int rank, int size,
                                                     bool joins_all) {
        return cuda_library().nccl_backend(store, rank, size, joins_all, device);
      };
    }
    groups_ = std::make_unique<ParallelGroups>(make_parallel_groups(rendezvous, mesh));
  } catch (const Error& error) {
    fail(error.what(), error.exit_code());
    throw;
  }
}

void JobRanks::fail(const char* message, ExitCode code) {
  if (watch_) watch_->fail(message, code);
}

void JobRanks::run(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    fail(error.what(), error.exit_code());
    throw;
  } catch (const std::bad_alloc&) {
    fail("out of memory", ExitCode::kOutOfMemory);
    throw;
  } catch (const std::exception& error) {
    fail(error.what(), ExitCode::kFailure);
    throw;
  }
  if (watch_) watch_->finish();
}

}  // namespace coeus
