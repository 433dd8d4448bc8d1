#include "coeus/models/llama3/flavors.h"

#include "coeus/models/llama3/masks.h"

namespace coeus::llama3 {

namespace {

nn::RopeScaling llama_3_2_scaling() {
  nn::RopeScaling scaling;
  scaling.factor = 32;
  return scaling;
}

std::map<std::string, Sizes> all_flavors() {
  std::map<std::string, Sizes> all = {
      {"debugmodel",
       {.dim = 256, .n_layers = 6, .n_heads = 16, .n_kv_heads = 16, .vocab_size = 2048}},
      {"1B",
       {.dim = 2048,
        .n_layers = 16,
        .n_heads = 32,
        .n_kv_heads = 8,
        .ffn_dim_multiplier = 1.5,
        .rope_scaling = llama_3_2_scaling()}},
      {"3B",
       {.dim = 3072,
        .n_layers = 28,
        .n_heads = 24,
        .n_kv_heads = 8,
        .rope_scaling = llama_3_2_scaling()}},
      {"8B",
       {.dim = 4096,
        .n_layers = 32,
        .n_heads = 32,
        .n_kv_heads = 8,
        .multiple_of = 1024,
        .ffn_dim_multiplier = 1.3}},
      {"70B",
       {.dim = 8192,
        .n_layers = 80,
        .n_heads = 64,
        .n_kv_heads = 8,
        .multiple_of = 4096,
        .ffn_dim_multiplier = 1.3}},
      {"405B",
       {.dim = 16384,
        .n_layers = 126,
        .n_heads = 128,
        .n_kv_heads = 8,
        .multiple_of = 4096,
        .ffn_dim_multiplier = 1.2}},
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

}  // namespace coeus::llama3
