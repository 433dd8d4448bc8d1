#include "coeus/models/llama4/flavors.h"

namespace coeus::llama4 {

namespace {

constexpr nn::RopeScaling kScaling = {
    .factor = 16, .low_freq_factor = 1, .high_freq_factor = 1, .original_max_position = 8192};

Sizes debugmodel() {
  Sizes sizes = {.dim = 256, .n_layers = 6, .n_heads = 16, .n_kv_heads = 16, .vocab_size = 2048};
  sizes.rope_scaling = kScaling;
  return sizes;
}

/// What Scout and Maverick share.
Sizes seventeen_billion(int64_t num_experts) {
  Sizes sizes;
  sizes.multiple_of = 2048;
  sizes.ffn_dim_multiplier = 1.2;
  sizes.moe.num_experts = num_experts;
  return sizes;
}

Sizes scout() {
  Sizes sizes = seventeen_billion(16);
  sizes.interleave_moe_layer_step = 1;
  sizes.rope_scaling = kScaling;
  return sizes;
}

Sizes irope(Sizes sizes, int64_t fixed_attn_block_size) {
  sizes.every_n_layers_nope = 4;
  sizes.masks = irope_masks(fixed_attn_block_size);
  return sizes;
}

}  // namespace

const std::map<std::string, Sizes>& flavors() {
  static const std::map<std::string, Sizes> all = {
      {"debugmodel", debugmodel()},
      {"debugmodel_irope", irope(debugmodel(), 256)},
      {"17bx16e", scout()},
      {"17bx16e_irope", irope(scout(), 8192)},
      {"17bx128e", seventeen_billion(128)},
      {"17bx128e_irope", irope(seventeen_billion(128), 8192)},
  };
  return all;
}

}  // namespace coeus::llama4
