#include "coeus/parallel/parallelism_config.h"

#include "coeus/base/config_schema.h"

namespace coeus {

void describe(ParallelismConfig& config, ConfigSection& section) {
  section
      .field("data_parallel_replicate_degree", config.data_parallel_replicate_degree,
             "Copies of the model, each trained on its own part of the batch.")
      .at_least(1);
  section
      .field("enable_compiled_autograd", config.enable_compiled_autograd,
             "TorchTitan compiles the backward pass.")
      .no_effect("nothing needs compiling");
  section
      .field("data_parallel_shard_degree", config.data_parallel_shard_degree,
             "Ranks over which parameters are sharded; -1 for all that the other degrees leave.")
      .at_least(1)
      .or_value(-1);
  section
      .field("fsdp_reshard_after_forward", config.fsdp_reshard_after_forward,
             "Whether gathered parameters are given back after the forward pass.")
      .one_of({"default", "always", "never"});
  section
      .field("tensor_parallel_degree", config.tensor_parallel_degree,
             "Ranks over which each layer's matrices are split.")
      .at_least(1);
  section.field("disable_loss_parallel", config.disable_loss_parallel,
                "Gather the logits before the loss under tensor parallelism.");
  section.field("enable_async_tensor_parallel", config.enable_async_tensor_parallel,
                "Overlap tensor parallelism's communication with its matrix products.");
  section
      .field("pipeline_parallel_degree", config.pipeline_parallel_degree,
             "Ranks over which the layers are spread.")
      .at_least(1);
  section.field("pipeline_parallel_split_points", config.pipeline_parallel_split_points,
                "Older form of module_fqns_per_model_part.");
  section.field("module_fqns_per_model_part", config.module_fqns_per_model_part,
                "The names of the modules of each pipeline stage, in order.");
  section
      .field("pipeline_parallel_first_stage_less_layers",
             config.pipeline_parallel_first_stage_less_layers,
             "Layers that the embedding counts for when stages are cut.")
      .at_least(0);
  section
      .field("pipeline_parallel_last_stage_less_layers",
             config.pipeline_parallel_last_stage_less_layers,
             "Layers that the output layer counts for when stages are cut.")
      .at_least(0);
  section
      .field("pipeline_parallel_layers_per_stage", config.pipeline_parallel_layers_per_stage,
             "Layers of a stage; None lets the schedule decide.")
      .at_least(1);
  section
      .field("pipeline_parallel_schedule", config.pipeline_parallel_schedule,
             "The order in which stages work on micro-batches.")
      .one_of_any_case({"1F1B", "Interleaved1F1B", "GPipe", "LoopedBFS", "InterleavedZeroBubble",
                        "ZBVZeroBubble", "DualPipeV", "PipelineScheduleSingle",
                        "PipelineScheduleMulti", "_PipelineScheduleRuntime"});
  section.field("pipeline_parallel_schedule_csv", config.pipeline_parallel_schedule_csv,
                "A file with a schedule of one's own.");
  section
      .field("pipeline_parallel_microbatch_size", config.pipeline_parallel_microbatch_size,
             "Rows of a micro-batch.")
      .at_least(1);
  section
      .field("context_parallel_degree", config.context_parallel_degree,
             "Ranks over which the tokens of a row are spread.")
      .at_least(1);
  section
      .field("context_parallel_rotate_method", config.context_parallel_rotate_method,
             "TorchTitan's key for how keys and values reach the queries of other ranks: alltoall "
             "is a ring.")
      .one_of({"allgather", "alltoall"});
  section
      .field("context_parallel_load_balancer", config.context_parallel_load_balancer,
             "How tokens are dealt to ranks, so that all have as much to do. Own key.")
      .one_of({"joint", "none", "headtail", "per_document", "ptrr"});
  section
      .field("context_parallel_method", config.context_parallel_method,
             "How keys and values reach the queries of other ranks. Own key.")
      .one_of({"auto", "allgather", "ring", "alltoall", "needed"});
  section
      .field("context_parallel_slack", config.context_parallel_slack,
             "By which share of the mean a rank may have more or fewer tokens, for the balancer "
             "joint. Own key.")
      .at_least(0)
      .less_than(1);
  section.field("show_context_parallel_plan", config.show_context_parallel_plan,
                "Log how the first batch's rows are dealt to ranks. Own key.");
  section.field("check_context_parallel_plan", config.check_context_parallel_plan,
                "Compare the ranks' plans at every step. Own key.");
  section
      .field("expert_parallel_degree", config.expert_parallel_degree,
             "Ranks over which a layer's experts are spread.")
      .at_least(1);
  section
      .field("expert_tensor_parallel_degree", config.expert_tensor_parallel_degree,
             "Ranks over which each expert's matrices are split.")
      .at_least(1);
}

}  // namespace coeus
