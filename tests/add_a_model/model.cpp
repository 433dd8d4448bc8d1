#include "add_a_model/model.h"

#include <torch/types.h>

#include <cmath>

#include "coeus/nn/init.h"
#include "coeus/nn/rope.h"

namespace coeus::palm {

ParallelBlock::ParallelBlock(int64_t layer_id, const Sizes& sizes, AttentionEngine engine,
                             const at::TensorOptions& options)
    : mask_name_(sizes.mask_name(layer_id)),
      out_std_(0.02 / std::sqrt(2.0 * static_cast<double>(sizes.n_layers))) {
  const nn::AttentionSizes attention = {.dim = sizes.dim,
                                        .n_heads = sizes.n_heads,
                                        .n_kv_heads = sizes.n_kv_heads,
                                        .head_dim = sizes.head_dim};
  attention_ = register_module("attention", nn::Attention(attention, engine, options));
  feed_forward_ =
      register_module("feed_forward", nn::FeedForward(sizes.dim, sizes.hidden_dim, options));
  norm_ = register_module("norm", nn::RMSNorm(sizes.dim, sizes.norm_eps, options));
}

at::Tensor ParallelBlock::forward(const at::Tensor& h, const nn::OrderedInputs& inputs) {
  const at::Tensor x = norm_(h);
  return h +
         attention_(x, inputs.rope_table, inputs.positions, inputs.masks->at(mask_name_),
                    inputs.cache) +
         feed_forward_(x);
}

void ParallelBlock::init_weights(uint64_t seed, const std::string& prefix) {
  nn::init_ones(norm_->weight);
  attention_->init_weights(seed, prefix + ".attention", out_std_);
  feed_forward_->init_weights(seed, prefix + ".feed_forward", out_std_);
}

Transformer::Transformer(const Sizes& sizes, AttentionEngine engine,
                         const at::TensorOptions& options)
    : Decoder({.vocab_size = sizes.vocab_size,
               .dim = sizes.dim,
               .n_layers = sizes.n_layers,
               .norm_eps = sizes.norm_eps,
               .tied_output = true,
               .masks = sizes.masks},
              options,
              [&](int64_t layer_id) {
                return std::make_shared<ParallelBlock>(layer_id, sizes, engine, options);
              }),
      sizes_(sizes) {
  if (!options.device().is_meta())
    set_rope_table(
        nn::rope_table(nn::rope_frequencies(sizes.head_dim, sizes.rope_theta), sizes.max_seq_len));
}

std::map<std::string, int64_t> Transformer::layers_by_mask() const {
  std::map<std::string, int64_t> layers;
  for (int64_t i = 0; i < sizes_.n_layers; ++i) ++layers[sizes_.mask_name(i)];
  return layers;
}

double Transformer::block_bytes_per_token(double element_size) const {
  const auto q_dim = static_cast<double>(sizes_.n_heads * sizes_.head_dim);
  const auto kv_dim = static_cast<double>(sizes_.n_kv_heads * sizes_.head_dim);
  // Queries and attention's output, keys and values, then gate, up and their product.
  return element_size * (2 * q_dim + 2 * kv_dim + 3 * static_cast<double>(sizes_.hidden_dim));
}

}  // namespace coeus::palm
