#include "coeus/models/llama3/model.h"

#include <torch/types.h>

#include <cmath>

#include "coeus/base/error.h"
#include "coeus/models/llama3/masks.h"
#include "coeus/nn/init.h"

namespace coeus::llama3 {

int64_t Sizes::hidden_dim() const {
  // Whole numbers at every step, as Llama's own code rounds.
  const auto two_thirds = static_cast<int64_t>(2.0 * static_cast<double>(4 * dim) / 3.0);
  const auto hidden = static_cast<int64_t>(ffn_dim_multiplier * static_cast<double>(two_thirds));
  return multiple_of * ((hidden + multiple_of - 1) / multiple_of);
}

TransformerBlock::TransformerBlock(int64_t layer_id, const Sizes& sizes, AttentionEngine engine,
                                   const at::TensorOptions& options)
    : init_std_(0.02 / std::sqrt(2.0 * static_cast<double>(sizes.depth_init ? layer_id + 1
                                                                            : sizes.n_layers))) {
  const nn::AttentionSizes attention = {.dim = sizes.dim,
                                        .n_heads = sizes.n_heads,
                                        .n_kv_heads = sizes.n_kv_heads,
                                        .head_dim = sizes.head_dim()};
  attention_ = register_module("attention", nn::Attention(attention, engine, options));
  feed_forward_ =
      register_module("feed_forward", nn::FeedForward(sizes.dim, sizes.hidden_dim(), options));
  attention_norm_ =
      register_module("attention_norm", nn::RMSNorm(sizes.dim, sizes.norm_eps, options));
  ffn_norm_ = register_module("ffn_norm", nn::RMSNorm(sizes.dim, sizes.norm_eps, options));
}

at::Tensor TransformerBlock::forward(const at::Tensor& x, const nn::OrderedInputs& inputs) {
  const auto [h, normed] =
      ffn_norm_->add_norm(x, attention_(attention_norm_(x), inputs.rope_table, inputs.positions,
                                        inputs.masks->at(kMaskName), inputs.cache));
  return h + feed_forward_(normed);
}

void TransformerBlock::init_weights(uint64_t seed, const std::string& prefix) {
  nn::init_ones(attention_norm_->weight);
  nn::init_ones(ffn_norm_->weight);
  attention_->init_weights(seed, prefix + ".attention", init_std_);
  feed_forward_->init_weights(seed, prefix + ".feed_forward", init_std_);
}

namespace {

DecoderSizes decoder_sizes(const Sizes& sizes) {
  COEUS_CHECK(sizes.n_heads > 0 && sizes.dim % sizes.n_heads == 0,
              "[llama3] dim {} must be a multiple of n_heads {}", sizes.dim, sizes.n_heads);
  return {.vocab_size = sizes.vocab_size,
          .dim = sizes.dim,
          .n_layers = sizes.n_layers,
          .norm_eps = sizes.norm_eps,
          .tied_output = sizes.enable_weight_tying,
          .masks = {{kMaskName, sizes.mask}}};
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

double Transformer::block_bytes_per_token(double size) const {
  const auto dim = static_cast<double>(sizes_.dim);
  const auto kv_dim = static_cast<double>(sizes_.n_kv_heads * sizes_.head_dim());
  const auto hidden = static_cast<double>(sizes_.hidden_dim());
  // Queries and attention's output, keys and values, then gate, up and their product.
  return size * (2 * dim + 2 * kv_dim + 3 * hidden);
}

}  // namespace coeus::llama3
