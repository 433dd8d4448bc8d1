// The [parallelism] section: TorchTitan's keys and defaults, and some of coeus's own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace coeus {

class ConfigSection;

/// [parallelism]. A degree of 1 means off.
struct ParallelismConfig {
  std::int64_t data_parallel_replicate_degree = 1;
  bool enable_compiled_autograd = false;
  std::int64_t data_parallel_shard_degree = -1;        ///< -1: all ranks that are left over
  std::string fsdp_reshard_after_forward = "default";  ///< "default", "always" or "never"
  std::int64_t tensor_parallel_degree = 1;
  bool disable_loss_parallel = false;
  bool enable_async_tensor_parallel = false;
  std::int64_t pipeline_parallel_degree = 1;
  std::vector<std::string> pipeline_parallel_split_points;
  std::optional<std::vector<std::vector<std::string>>> module_fqns_per_model_part;
  std::int64_t pipeline_parallel_first_stage_less_layers = 1;
  std::int64_t pipeline_parallel_last_stage_less_layers = 1;
  std::optional<std::int64_t> pipeline_parallel_layers_per_stage;
  std::string pipeline_parallel_schedule = "1F1B";
  std::string pipeline_parallel_schedule_csv;
  std::int64_t pipeline_parallel_microbatch_size = 1;
  std::int64_t context_parallel_degree = 1;
  std::string context_parallel_rotate_method = "allgather";  ///< "allgather" or "alltoall" (a ring)
  std::string context_parallel_load_balancer = "joint";      ///< coeus's own key
  std::string context_parallel_method = "auto";              ///< coeus's own key
  double context_parallel_slack = 0;                         ///< coeus's own key
  bool show_context_parallel_plan = false;                   ///< coeus's own key
  bool check_context_parallel_plan = false;                  ///< coeus's own key
  std::int64_t expert_parallel_degree = 1;
  std::int64_t expert_tensor_parallel_degree = 1;
  bool operator==(const ParallelismConfig&) const = default;
};

/// Names the section's keys, their meaning and their allowed values to the configuration reader.
void describe(ParallelismConfig& config, ConfigSection& section);

}  // namespace coeus
