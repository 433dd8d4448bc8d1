#include "layouts.h"

namespace coeus {

namespace {

std::string shard(int degree) {
  return " --parallelism.data_parallel_shard_degree=" + std::to_string(degree);
}
std::string replicate(int degree) {
  return " --parallelism.data_parallel_replicate_degree=" + std::to_string(degree);
}
std::string tensor(int degree) {
  return " --parallelism.tensor_parallel_degree=" + std::to_string(degree);
}
std::string pipeline(int degree, const std::string& schedule) {
  return " --parallelism.pipeline_parallel_degree=" + std::to_string(degree) +
         " --parallelism.pipeline_parallel_schedule=" + schedule;
}
std::string experts(int degree, int tensor_degree = 1) {
  return " --parallelism.expert_parallel_degree=" + std::to_string(degree) +
         " --parallelism.expert_tensor_parallel_degree=" + std::to_string(tensor_degree);
}

constexpr const char* kLayersPerStage = " --parallelism.pipeline_parallel_layers_per_stage=";
constexpr const char* kLossByChunks = " --training.loss_chunk_size=100";
constexpr const char* kLlama3 = "llama3 debugmodel_flex_attn";
constexpr const char* kIrope = "llama4 debugmodel_irope";
constexpr const char* kDeepSeek = "deepseek_v3 debugmodel";
constexpr const char* kQwen = "qwen3 debugmodel_moe_small";

}  // namespace

const std::vector<LayoutModel>& layout_models() {
  static const std::vector<LayoutModel> models = {
      {"llama3", "debugmodel"},
      {"llama3", "debugmodel_flex_attn"},
      {"llama4", "debugmodel", true},
      {"llama4", "debugmodel_irope", true},
      {"deepseek_v3", "debugmodel", true},
      {"deepseek_v3", "debugmodel_flex_attn", true},
      {"qwen3", "debugmodel"},
      {"qwen3", "debugmodel_moe_small", true},
  };
  return models;
}

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all = {
      {"default", 4, 4, "", false, {kIrope}},
      {"2d_eager", 4, 2, tensor(2), false, {kLlama3}},
      {"2d_eager without loss parallel", 4, 2, tensor(2) + " --parallelism.disable_loss_parallel"},
      {"tp", 4, 1, shard(1) + tensor(4)},
      {"fsdp_reshard_always", 2, 2, shard(2) + " --parallelism.fsdp_reshard_after_forward=always"},
      {"fsdp_reshard_never", 2, 2, shard(2) + " --parallelism.fsdp_reshard_after_forward=never"},
      {"gradient_accumulation",
       2,
       2,
       shard(2) + " --training.local_batch_size=2 --training.global_batch_size=8",
       false,
       {kQwen}},
      {"fsdp+full AC", 4, 4, shard(4) + " --activation_checkpoint.mode=full"},
      {"fsdp+per_op_sac", 4, 4,
       shard(4) + " --activation_checkpoint.mode=selective "
                  "--activation_checkpoint.selective_ac_option=op"},
      {"ddp", 4, 4, shard(1) + replicate(4), false, {kLlama3}},
      {"hsdp", 4, 4, shard(2) + replicate(2), false, {kIrope}},
      {"hsdp+tp", 8, 4, shard(2) + replicate(2) + tensor(2)},
      {"ddp+tp", 4, 2, shard(1) + replicate(2) + tensor(2), false, {kQwen}},
      {"pp_1f1b", 2, 1, shard(1) + pipeline(2, "1F1B"), false, {kIrope}},
      {"pp_gpipe", 2, 1, shard(1) + pipeline(2, "GPipe")},
      {"pp_zbv", 2, 1, shard(1) + pipeline(2, "ZBVZeroBubble"), false, {kLlama3}},
      {"pp_dp_1f1b", 4, 2, shard(2) + pipeline(2, "1F1B")},
      {"pp_dp_gpipe", 4, 2, shard(2) + pipeline(2, "GPipe")},
      {"pp_tp", 4, 1, shard(1) + tensor(2) + pipeline(2, "1F1B"), false, {kDeepSeek}},
      {"pp_dp_tp", 8, 2, shard(2) + tensor(2) + pipeline(2, "1F1B")},
      {"pp_looped_zero_bubble", 4, 1,
       shard(1) + pipeline(4, "InterleavedZeroBubble") + kLayersPerStage + "1"},
      {"pp_looped_1f1b", 4, 1, shard(1) + pipeline(4, "Interleaved1F1B") + kLayersPerStage + "1"},
      {"pp_looped_bfs", 2, 1, shard(1) + pipeline(2, "LoopedBFS"), false, {kLlama3}},
      {"pp_dp_1f1b, 4 layers a stage", 4, 2,
       shard(2) + pipeline(2, "1F1B") + kLayersPerStage + "4"},
      {"pp_custom_csv", 2, 1,
       shard(1) + pipeline(2, "PipelineScheduleMulti") +
           " --parallelism.pipeline_parallel_schedule_csv=tests/layouts/custom_schedule.csv"},
      {"optimizer_foreach", 2, 2, shard(2) + " --optimizer.implementation=foreach"},
      {"pp_micro_batch_2", 2, 1,
       shard(1) + pipeline(2, "1F1B") + " --parallelism.pipeline_parallel_microbatch_size=2"},
      {"fsdp_ep", 4, 4, shard(4) + experts(2), true, {kDeepSeek}},
      {"fsdp_ep4", 4, 4, shard(4) + experts(4), true},
      {"tp+ep", 4, 2, shard(2) + tensor(2) + experts(4), true, {kIrope}},
      {"pp+fsdp+tp+ep", 8, 2, shard(2) + tensor(2) + pipeline(2, "Interleaved1F1B") + experts(4),
       true},
      {"pp+fsdp+tp+ep+etp", 8, 2,
       shard(2) + tensor(2) + pipeline(2, "Interleaved1F1B") + experts(2, 2), true},
      {"hsdp+ep", 8, 8, shard(4) + replicate(2) + experts(2), true},
      {"gradient_accumulation, loss by chunks",
       2,
       2,
       shard(2) + " --training.local_batch_size=2 --training.global_batch_size=8" + kLossByChunks,
       false,
       {kLlama3}},
      {"pp_tp, loss by chunks",
       4,
       1,
       shard(1) + tensor(2) + pipeline(2, "1F1B") + kLossByChunks,
       false,
       {kDeepSeek}},
      // Products that TorchTitan refuses or does not test.
      {"ddp+tp+pp", 8, 2, shard(1) + replicate(2) + tensor(2) + pipeline(2, "1F1B")},
      {"hsdp+pp_zbv", 8, 4, shard(2) + replicate(2) + pipeline(2, "ZBVZeroBubble")},
      {"hsdp+tp+pp", 16, 4, shard(2) + replicate(2) + tensor(2) + pipeline(2, "Interleaved1F1B")},
      {"hsdp+tp+pp+ep", 16, 4,
       shard(2) + replicate(2) + tensor(2) + pipeline(2, "LoopedBFS") + experts(4), true},
      {"hsdp+tp+pp+ep+etp", 16, 4,
       shard(2) + replicate(2) + tensor(2) + pipeline(2, "InterleavedZeroBubble") + experts(2, 2),
       true},
  };
  return all;
}

}  // namespace coeus
