#include "coeus/models/deepseek_v3/flavors.h"

#include "coeus/models/deepseek_v3/masks.h"

namespace coeus::deepseek_v3 {

namespace {

nn::MoEOptions softmax_experts(int64_t num_experts, int64_t top_k) {
  return {.num_experts = num_experts,
          .num_shared_experts = 2,
          .score_func = nn::ScoreFunction::kSoftmax,
          .top_k = top_k,
          .score_before_experts = false};
}

/// DeepSeek-V2 takes the groups with the best single experts.
nn::MoEOptions v2_experts() {
  nn::MoEOptions moe = softmax_experts(160, 6);
  moe.route_scale = 16;
  moe.n_expert_groups = 8;
  moe.n_limited_groups = 3;
  moe.group_top = 1;
  return moe;
}

nn::MoEOptions v3_experts() {
  return {.num_experts = 256,
          .num_shared_experts = 1,
          .score_func = nn::ScoreFunction::kSigmoid,
          .top_k = 8,
          .route_norm = true,
          .route_scale = 2.5,
          .score_before_experts = false,
          .n_expert_groups = 8,
          .n_limited_groups = 4};
}

std::map<std::string, Sizes> all_flavors() {
  const Sizes debug = {.dim = 256,
                       .n_layers = 6,
                       .vocab_size = 2048,
                       .hidden_dim = 1024,
                       .moe_hidden_dim = 256,
                       .moe = softmax_experts(8, 3),
                       .mscale = 0.7};
  std::map<std::string, Sizes> all = {
      {"debugmodel", debug},
      {"debugmodel_flex_attn", debug},
      {"16B", {.moe = softmax_experts(64, 6), .mscale = 0.7}},
      {"236B",
       {.dim = 5120,
        .n_layers = 60,
        .n_heads = 128,
        .hidden_dim = 12288,
        .moe_hidden_dim = 1536,
        .moe = v2_experts(),
        .q_lora_rank = 1536}},
      {"671B",
       {.dim = 7168,
        .n_layers = 61,
        .n_dense_layers = 3,
        .n_heads = 128,
        .vocab_size = 129280,
        .hidden_dim = 18432,
        .moe_hidden_dim = 2048,
        .moe = v3_experts(),
        .q_lora_rank = 1536}},
  };
  for (auto& [name, sizes] : all)
    if (name != "debugmodel") sizes.mask = block_causal();
  return all;
}

}  // namespace

const std::map<std::string, Sizes>& flavors() {
  static const std::map<std::string, Sizes> all = all_flavors();
  return all;
}

}  // namespace coeus::deepseek_v3
