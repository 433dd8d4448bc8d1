#include "coeus/train/service_config.h"

#include "coeus/base/config_schema.h"

namespace coeus {

void describe(CommConfig& config, ConfigSection& section) {
  section
      .field("init_timeout_seconds", config.init_timeout_seconds,
             "How long a rank waits for another before the end of step 1.")
      .at_least(1);
  section
      .field("train_timeout_seconds", config.train_timeout_seconds,
             "How long a rank waits for another after step 1.")
      .at_least(1);
  section
      .field("trace_buf_size", config.trace_buf_size,
             "Collectives that the flight recorder remembers; 0 turns it off.")
      .at_least(0);
  section.field("save_traces_folder", config.save_traces_folder,
                "Where the flight recorder's files are put, under job.dump_folder.");
  section.field("save_traces_file_prefix", config.save_traces_file_prefix,
                "What their names begin with.");
}

void describe(MemoryEstimationConfig& config, ConfigSection& section) {
  section.field("enable", config.enable, "Estimate the memory of a run instead of running it.");
  section.field("disable_fake_mode", config.disable_fake_mode,
                "Estimate with real tensors instead of tensors without storage.");
}

void describe(FaultToleranceConfig& config, ConfigSection& section) {
  section.field("enable", config.enable, "Train on replicas that may come and go.");
  section.field("process_group", config.process_group, "What replicas talk through.")
      .one_of({"gloo", "nccl"});
  section
      .field("process_group_timeout_ms", config.process_group_timeout_ms,
             "How long a replica waits for another, in milliseconds.")
      .at_least(1);
  section.field("replica_id", config.replica_id, "The number of this replica.").at_least(0);
  section.field("group_size", config.group_size, "The number of replicas.").at_least(0);
  section.field("min_replica_size", config.min_replica_size, "Replicas that a step needs at least.")
      .at_least(1);
  section
      .field("semi_sync_method", config.semi_sync_method,
             "How replicas meet only every so many steps.")
      .one_of({"local_sgd", "diloco"});
}

void describe(ExperimentalConfig& config, ConfigSection& section) {
  section.field("custom_import", config.custom_import, "A Python module to import.");
  section.field("custom_args_module", config.custom_args_module, "A Python module with more keys.");
}

}  // namespace coeus
