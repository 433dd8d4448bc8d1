#include "coeus/models/qwen3/model.h"

#include <torch/types.h>

#include <cmath>

#include "coeus/base/error.h"
#include "coeus/models/qwen3/masks.h"
#include "coeus/nn/init.h"
#include "coeus/nn/rope.h"

namespace coeus::qwen3 {

TransformerBlock::TransformerBlock(int64_t layer_id, const Sizes& sizes, AttentionEngine engine,
                                   const at::TensorOptions& options)
    : init_std_(0.02 / std::sqrt(2.0 * static_cast<double>(sizes.depth_init ? layer_id + 1
                                                                            : sizes.n_layers))) {
  const AttentionSizes attention = {.dim = sizes.dim,
                                    .n_heads = sizes.n_heads,
                                    .n_kv_heads = sizes.n_kv_heads,
                                    .head_dim = sizes.head_dim,
                                    .qk_norm = sizes.qk_norm,
                                    .norm_eps = sizes.norm_eps};
  attention_ = register_module("attention", Attention(attention, engine, options));
  if (sizes.is_moe(layer_id))
    moe_ = register_module("moe", nn::MoE(sizes.dim, sizes.moe_hidden_dim, *sizes.moe, options));
  else
    feed_forward_ =
        register_module("feed_forward", nn::FeedForward(sizes.dim, sizes.hidden_dim, options));
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

Transformer::Transformer(const Sizes& sizes, AttentionEngine engine,
                         const at::TensorOptions& options)
    : Decoder({.vocab_size = sizes.vocab_size,
               .dim = sizes.dim,
               .n_layers = sizes.n_layers,
               .norm_eps = sizes.norm_eps,
               .tied_output = sizes.enable_weight_tying,
               .masks = {{kMaskName, sizes.mask}}},
              options,
              [&](int64_t layer_id) {
                return std::make_shared<TransformerBlock>(layer_id, sizes, engine, options);
              }),
      sizes_(sizes) {
  if (!options.device().is_meta())
    set_rope_table(
        nn::rope_table(nn::rope_frequencies(sizes.head_dim, sizes.rope_theta), sizes.max_seq_len));
}

double Transformer::block_bytes_per_token(double size) const {
  const auto dim = static_cast<double>(sizes_.dim);
  const auto q_dim = static_cast<double>(sizes_.n_heads * sizes_.head_dim);
  const auto kv_dim = static_cast<double>(sizes_.n_kv_heads * sizes_.head_dim);
  // Queries and keys before and after their norms, values, and attention's output.
  const double attention =
      size * ((sizes_.qk_norm ? 3 : 2) * q_dim + (sizes_.qk_norm ? 3 : 2) * kv_dim);
  const double dense = 3 * size * static_cast<double>(sizes_.hidden_dim);
  if (!sizes_.moe) return attention + dense;
  const auto top_k = static_cast<double>(sizes_.moe->top_k);
  // Each expert's input, gate, up, product and output; the router's logits and scores.
  const double experts = top_k * size * (2 * dim + 3 * static_cast<double>(sizes_.moe_hidden_dim)) +
                         2 * 4 * static_cast<double>(sizes_.moe->num_experts);
  int64_t moe_layers = 0;
  for (int64_t i = 0; i < sizes_.n_layers; ++i) moe_layers += sizes_.is_moe(i) ? 1 : 0;
  const double of_experts = static_cast<double>(moe_layers) / static_cast<double>(sizes_.n_layers);
  return attention + of_experts * experts + (1 - of_experts) * dense;
}

}  // namespace coeus::qwen3
