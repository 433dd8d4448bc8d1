// A training job's ranks: how they meet, work together and learn of each other's end.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "coeus/base/error.h"
#include "coeus/comm/collective_log.h"
#include "coeus/comm/parallel_groups.h"
#include "coeus/comm/rank_environment.h"
#include "coeus/comm/watch.h"
#include "coeus/train/job_config.h"

namespace coeus {

/// The degrees that [parallelism] asks for among `world` ranks. Throws ConfigError with the numbers
/// that do not fit.
ParallelDegrees job_degrees(const ParallelismConfig& config, int64_t world);

/// This process among the ranks of its job.
class JobRanks {
 public:
  /// A job of this process alone. Throws ConfigError when it cannot have the device that it asks
  /// for.
  explicit JobRanks(const JobConfig& config);
  /// Meets the other ranks of the job; what cannot be is refused before a port is touched. Throws
  /// ConfigError for it and for ranks whose configurations differ, and PeerLostError for ranks that
  /// do not come.
  JobRanks(const JobConfig& config, const RankEnvironment& environment);

  const RankEnvironment& environment() const { return environment_; }
  /// Where this rank computes.
  const at::Device& device() const { return device_; }
  const ParallelGroups& groups() const { return *groups_; }
  CollectiveLog& log() { return *log_; }

  /// Runs `work`, which ends the whole job when it throws: the other ranks learn why.
  void run(const std::function<void()>& work);

 private:
  void fail(const char* message, ExitCode code);

  RankEnvironment environment_;
  at::Device device_;
  std::unique_ptr<CollectiveLog> log_;  ///< before those that write to it
  std::unique_ptr<Watch> watch_;
  std::unique_ptr<ParallelGroups> groups_;
};

}  // namespace coeus
