#include "coeus/models/llama4/model.h"

#include <torch/types.h>

#include <cmath>

#include "coeus/base/error.h"
#include "coeus/nn/init.h"

namespace coeus::llama4 {

namespace {

int64_t rounded_up(int64_t value, int64_t multiple) {
  return multiple * ((value + multiple - 1) / multiple);
}

/// Whole numbers at every step, as Llama's own code rounds.
int64_t unrounded_hidden_dim(const Sizes& sizes) {
  const auto two_thirds = static_cast<int64_t>(2.0 * static_cast<double>(4 * sizes.dim) / 3.0);
  return static_cast<int64_t>(sizes.ffn_dim_multiplier * static_cast<double>(two_thirds));
}

}  // namespace

int64_t Sizes::hidden_dim() const {
  return given ? given->hidden_dim : rounded_up(unrounded_hidden_dim(*this), multiple_of);
}

int64_t Sizes::expert_hidden_dim() const {
  if (given) return given->expert_hidden_dim;
  const int64_t parts = auto_scale_hidden_dim ? moe.top_k + moe.num_shared_experts : 1;
  return rounded_up(unrounded_hidden_dim(*this) / parts, multiple_of);
}

TransformerBlock::TransformerBlock(int64_t layer_id, const Sizes& sizes, AttentionEngine engine,
                                   const at::TensorOptions& options)
    : init_std_(0.02 / std::sqrt(2.0 * static_cast<double>(sizes.depth_init ? layer_id + 1
                                                                            : sizes.n_layers))) {
  const bool nope = sizes.is_nope(layer_id);
  mask_name_ = sizes.mask_name(layer_id);
  nn::AttentionSizes attention = {.dim = sizes.dim,
                                  .n_heads = sizes.n_heads,
                                  .n_kv_heads = sizes.n_kv_heads,
                                  .head_dim = sizes.head_dim(),
                                  .use_rope = !nope};
  if (sizes.qk_norm && !nope) attention.qk_norm_eps = sizes.norm_eps;
  if (nope) attention.temperature = sizes.temperature;
  attention_ = register_module("attention", nn::Attention(attention, engine, options));
  if (sizes.is_moe(layer_id))
    moe_ =
        register_module("moe", nn::MoE(sizes.dim, sizes.expert_hidden_dim(), sizes.moe, options));
  else
    feed_forward_ =
        register_module("feed_forward", nn::FeedForward(sizes.dim, sizes.hidden_dim(), options));
  attention_norm_ =
      register_module("attention_norm", nn::RMSNorm(sizes.dim, sizes.norm_eps, options));
  ffn_norm_ = register_module("ffn_norm", nn::RMSNorm(sizes.dim, sizes.norm_eps, options));
}

at::Tensor TransformerBlock::forward(const at::Tensor& x, const nn::OrderedInputs& inputs) {
  const auto [h, normed] =
      ffn_norm_->add_norm(x, attention_(attention_norm_(x), inputs.rope_table, inputs.positions,
                                        inputs.masks->at(mask_name_), inputs.cache));
  return h + (moe_ ? moe_(normed) : feed_forward_(normed));
}

void TransformerBlock::init_weights(uint64_t seed, const std::string& prefix) {
  nn::init_ones(attention_norm_->weight);
  nn::init_ones(ffn_norm_->weight);
  attention_->init_weights(seed, prefix + ".attention", init_std_);
  if (moe_)
    moe_->init_weights(seed, prefix + ".moe", init_std_);
  else
    feed_forward_->init_weights(seed, prefix + ".feed_forward", init_std_);
}

namespace {

DecoderSizes decoder_sizes(const Sizes& sizes) {
  COEUS_CHECK(sizes.given || (sizes.n_heads > 0 && sizes.dim % sizes.n_heads == 0),
              "[llama4] dim {} must be a multiple of n_heads {}", sizes.dim, sizes.n_heads);
  COEUS_CHECK(sizes.every_n_layers_nope == 0 || sizes.every_n_layers_nope > 1,
              "[llama4] every_n_layers_nope must be greater than 1, or 0 for none, got {}",
              sizes.every_n_layers_nope);
  COEUS_CHECK(sizes.given || sizes.interleave_moe_layer_step > 0,
              "[llama4] interleave_moe_layer_step must be at least 1, got {}",
              sizes.interleave_moe_layer_step);
  return {.vocab_size = sizes.vocab_size,
          .dim = sizes.dim,
          .n_layers = sizes.n_layers,
          .norm_eps = sizes.norm_eps,
          .masks = sizes.masks};
}

}  // namespace

Transformer::Transformer(const Sizes& sizes, AttentionEngine engine,
                         const at::TensorOptions& options)
    : Decoder(decoder_sizes(sizes), options,
              [&](int64_t layer_id) {
                return std::make_shared<TransformerBlock>(layer_id, sizes, engine, options);
              }),
      sizes_(sizes) {
  if (!options.device().is_meta())
    set_rope_table(nn::rope_table({.head_dim = sizes.head_dim(),
                                   .max_positions = sizes.max_seq_len,
                                   .theta = sizes.rope_theta,
                                   .scaling = sizes.rope_scaling}));
}

std::map<std::string, int64_t> Transformer::layers_by_mask() const {
  std::map<std::string, int64_t> layers;
  for (int64_t i = 0; i < sizes_.n_layers; ++i) ++layers[sizes_.mask_name(i)];
  return layers;
}

double Transformer::block_bytes_per_token(double size) const {
  const auto dim = static_cast<double>(sizes_.dim);
  const auto q_dim = static_cast<double>(sizes_.n_heads * sizes_.head_dim());
  const auto kv_dim = static_cast<double>(sizes_.n_kv_heads * sizes_.head_dim());
  const auto experts = static_cast<double>(sizes_.moe.top_k);
  const auto hidden = static_cast<double>(sizes_.expert_hidden_dim());
  const auto shared = static_cast<double>(sizes_.moe.num_shared_experts);
  // Gate, up and their product, of a dense layer and of the experts that a token sees; the latter
  // also keep their input, with and without its score.
  const double dense = size * 3 * static_cast<double>(sizes_.hidden_dim());
  const double routed = experts * (8 * dim + size * 3 * hidden) + size * 3 * shared * hidden;
  int64_t moe_layers = 0;
  for (int64_t i = 0; i < sizes_.n_layers; ++i) moe_layers += sizes_.is_moe(i) ? 1 : 0;
  const double of_experts = static_cast<double>(moe_layers) / static_cast<double>(sizes_.n_layers);
  // Queries and attention's output, keys and values.
  return size * (2 * q_dim + 2 * kv_dim) + of_experts * routed + (1 - of_experts) * dense;
}

}  // namespace coeus::llama4
