#include "coeus/models/deepseek_v3/block.h"

#include <torch/types.h>

#include <cmath>

#include "coeus/models/deepseek_v3/masks.h"
#include "coeus/nn/init.h"

namespace coeus::deepseek_v3 {

AttentionSizes Sizes::attention() const {
  return {.dim = dim,
          .n_heads = n_heads,
          .q_lora_rank = q_lora_rank,
          .kv_lora_rank = kv_lora_rank,
          .qk_nope_head_dim = qk_nope_head_dim,
          .qk_rope_head_dim = qk_rope_head_dim,
          .v_head_dim = v_head_dim,
          .norm_eps = latent_norm_eps.value_or(norm_eps)};
}

double Sizes::attention_scale() const {
  const double stretch = is_stretched() ? nn::yarn_mscale(yarn->factor, mscale) : 1.0;
  return stretch * stretch / std::sqrt(static_cast<double>(attention().qk_head_dim()));
}

TransformerBlock::TransformerBlock(int64_t layer_id, const Sizes& sizes, AttentionEngine engine,
                                   const at::TensorOptions& options)
    : init_std_(0.02 / std::sqrt(2.0 * static_cast<double>(layer_id + 1))) {
  attention_ = register_module(
      "attention", Attention(sizes.attention(), sizes.attention_scale(), engine, options));
  if (layer_id < sizes.n_dense_layers)
    feed_forward_ =
        register_module("feed_forward", nn::FeedForward(sizes.dim, sizes.hidden_dim, options));
  else
    moe_ = register_module("moe", nn::MoE(sizes.dim, sizes.moe_hidden_dim, sizes.moe, options));
  attention_norm_ =
      register_module("attention_norm", nn::RMSNorm(sizes.dim, sizes.norm_eps, options));
  ffn_norm_ = register_module("ffn_norm", nn::RMSNorm(sizes.dim, sizes.norm_eps, options));
}

at::Tensor TransformerBlock::forward(const at::Tensor& x, const nn::OrderedInputs& inputs) {
  const auto [h, normed] =
      ffn_norm_->add_norm(x, attention_(attention_norm_(x), inputs.rope_table, inputs.positions,
                                        inputs.masks->at(kMaskName), inputs.cache));
  return h + (moe_.is_empty() ? feed_forward_(normed) : moe_(normed));
}

void TransformerBlock::init_weights(uint64_t seed, const std::string& prefix) {
  nn::init_ones(attention_norm_->weight);
  nn::init_ones(ffn_norm_->weight);
  attention_->init_weights(seed, prefix + ".attention", init_std_);
  if (moe_.is_empty())
    feed_forward_->init_weights(seed, prefix + ".feed_forward", init_std_);
  else
    moe_->init_weights(seed, prefix + ".moe", init_std_);
}

}  // namespace coeus::deepseek_v3
