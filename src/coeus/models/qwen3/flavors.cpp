#include "coeus/models/qwen3/flavors.h"

#include "coeus/models/qwen3/masks.h"

namespace coeus::qwen3 {

namespace {

/// Qwen's routing: softmax over all experts, the best ones' scores normed to a sum of 1.
nn::MoEOptions experts(int64_t num_experts, int64_t top_k) {
  return {.num_experts = num_experts,
          .num_shared_experts = 0,
          .score_func = nn::ScoreFunction::kSoftmax,
          .top_k = top_k,
          .route_norm = true,
          .score_before_experts = false,
          // As TorchTitan trains them: its optimizer for qwen3 updates no bias.
          .load_balance_coeff = std::nullopt};
}

std::map<std::string, Sizes> all_flavors() {
  const Sizes small = {
      .dim = 256, .n_layers = 6, .head_dim = 32, .vocab_size = 2048, .hidden_dim = 768};
  Sizes moe_small = small;
  moe_small.moe = experts(8, 2);
  moe_small.moe_hidden_dim = 256;
  Sizes tied_small = small;
  tied_small.enable_weight_tying = true;
  std::map<std::string, Sizes> all = {
      {"debugmodel", small},
      {"debugmodel_tied", tied_small},
      {"debugmodel_moe_small", moe_small},
      {"0.6B", {.enable_weight_tying = true}},
      {"1.7B", {.dim = 2048, .hidden_dim = 6144, .enable_weight_tying = true}},
      {"4B",
       {.dim = 2560,
        .n_layers = 36,
        .n_heads = 32,
        .hidden_dim = 9728,
        .enable_weight_tying = true}},
      {"8B", {.dim = 4096, .n_layers = 36, .n_heads = 32, .hidden_dim = 12288}},
      {"14B", {.dim = 5120, .n_layers = 40, .n_heads = 40, .hidden_dim = 17408}},
      {"32B", {.dim = 5120, .n_layers = 64, .n_heads = 64, .hidden_dim = 25600}},
      {"debugmodel_moe", {.moe = experts(64, 8)}},
      {"30B-A3B",
       {.dim = 2048, .n_layers = 48, .n_heads = 32, .n_kv_heads = 4, .moe = experts(128, 8)}},
      {"235B-A22B",
       {.dim = 4096,
        .n_layers = 94,
        .n_heads = 64,
        .n_kv_heads = 4,
        .rope_theta = 5e6,
        .moe = experts(128, 8),
        .moe_hidden_dim = 1536}},
  };
  for (auto [name, sizes] : std::map(all)) {
    sizes.mask = block_causal();
    all.emplace(name + "_flex_attn", sizes);
  }
  return all;
}

}  // namespace

const std::map<std::string, Sizes>& flavors() {
  static const std::map<std::string, Sizes> all = all_flavors();
  return all;
}

}  // namespace coeus::qwen3
