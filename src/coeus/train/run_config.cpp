#include "coeus/train/run_config.h"

#include "coeus/base/config_schema.h"

namespace coeus {

void describe(JobSection& config, ConfigSection& section) {
  section.field("config_file", config.config_file,
                "The configuration file, when it is given as a flag and not as an argument.");
  section.field("dump_folder", config.dump_folder, "Where everything a run writes is put.");
  section.field("description", config.description, "A line for the log.");
  section.field("print_args", config.print_args, "Print the whole configuration at the start.");
  section
      .field("device", config.device,
             "Where to compute; auto takes a GPU if there is one. Own key.")
      .one_of({"auto", "cpu", "cuda"});
}

void describe(MetricsConfig& config, ConfigSection& section) {
  section
      .field("log_freq", config.log_freq, "Steps between two log lines; step 1 is always logged.")
      .at_least(1);
  section.field("enable_tensorboard", config.enable_tensorboard, "Write TensorBoard event files.");
  section.field("disable_color_printing", config.disable_color_printing,
                "Print log lines without colours.");
  section.field("save_tb_folder", config.save_tb_folder,
                "Where the event files are put, under job.dump_folder.");
  section.field("save_for_all_ranks", config.save_for_all_ranks,
                "Write event files for every rank, not only for the first that knows the loss.");
  section.field("enable_wandb", config.enable_wandb, "Send metrics to Weights & Biases.");
}

void describe(ProfilingConfig& config, ConfigSection& section) {
  section.field("enable_profiling", config.enable_profiling, "Write traces of some steps.");
  section.field("save_traces_folder", config.save_traces_folder,
                "Where the traces are put, under job.dump_folder.");
  section.field("profile_freq", config.profile_freq, "Steps between two traces.").at_least(1);
  section.field("profiler_active", config.profiler_active, "Steps of a trace.").at_least(1);
  section
      .field("profiler_warmup", config.profiler_warmup,
             "Steps before a trace in which the profiler already runs.")
      .at_least(0);
  section.field("enable_memory_snapshot", config.enable_memory_snapshot,
                "Write what every piece of GPU memory was allocated for.");
  section.field("save_memory_snapshot_folder", config.save_memory_snapshot_folder,
                "Where the snapshots are put, under job.dump_folder.");
}

}  // namespace coeus
