#include "coeus/train/unsupported_features.h"

#include "coeus/train/job_config.h"

namespace coeus {

const std::vector<UnsupportedFeature>& unsupported_features() {
  using Job = const JobConfig&;
  static const std::vector<UnsupportedFeature> features = {
      {"profiling.enable_memory_snapshot",
       [](Job c) { return c.profiling.enable_memory_snapshot; },
       "when true",
       "memory snapshots",
       "leave it false",
       {"profiling.save_memory_snapshot_folder"}},
      {"metrics.enable_wandb", [](Job c) { return c.metrics.enable_wandb; }, "when true",
       "Weights & Biases", "read metrics.jsonl, or use metrics.enable_tensorboard"},

      {"model.converters",
       [](Job c) { return !c.model.converters.empty(); },
       "unless empty",
       "quantization",
       "leave it empty",
       {"quantize."}},
      {"model.print_after_conversion", [](Job c) { return c.model.print_after_conversion; },
       "when true", "printing the converted model", "leave it false"},

      {"optimizer.early_step_in_backward", [](Job c) { return c.optimizer.early_step_in_backward; },
       "when true", "updating parameters inside the backward pass", "leave it false"},
      {"training.gc_debug", [](Job c) { return c.training.gc_debug; }, "when true",
       "a garbage collector to debug", "leave it false"},

      {"data.spatial_merge_size", [](Job c) { return c.data.spatial_merge_size != 1; }, "unless 1",
       "merging patches into one token", "use 1"},

      {"parallelism.enable_async_tensor_parallel",
       [](Job c) { return c.parallelism.enable_async_tensor_parallel; }, "when true",
       "overlapping tensor parallelism's exchanges with its matrix products", "leave it false"},
      {"parallelism.pipeline_parallel_split_points",
       [](Job c) { return !c.parallelism.pipeline_parallel_split_points.empty(); }, "unless empty",
       "cutting stages by split points",
       "TorchTitan replaced it by parallelism.module_fqns_per_model_part"},
      {"activation_checkpoint.mode",
       [](Job c) { return c.activation_checkpoint.mode == "memory_budget"; },
       "when \"memory_budget\"",
       "choosing by a memory budget",
       "use \"selective\", \"full\" or \"none\"",
       {"activation_checkpoint.memory_budget",
        "activation_checkpoint.visualize_memory_budget_pareto"}},
      {"memory_estimation.enable",
       [](Job c) { return c.memory_estimation.enable; },
       "when true",
       "estimating instead of running",
       "`coeus config CONFIG.toml --model-summary` estimates",
       {"memory_estimation."}},
      {"fault_tolerance.enable",
       [](Job c) { return c.fault_tolerance.enable; },
       "when true",
       "replicas that come and go",
       "leave it false",
       {"fault_tolerance."}},
      {"experimental.custom_import", [](Job c) { return !c.experimental.custom_import.empty(); },
       "unless empty", "importing Python modules", "leave it empty"},
      {"experimental.custom_args_module",
       [](Job c) {
         const std::string& module = c.experimental.custom_args_module;
         // What the module adds, the section [data], is built in.
         return !module.empty() && module != "torchtitan.experiments.vlm.assets.job_config";
       },
       "unless empty or TorchTitan's of the vision-language model", "importing Python modules",
       "leave it empty"},
  };
  return features;
}

}  // namespace coeus
