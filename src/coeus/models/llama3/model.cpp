#include "coeus/models/llama3/model.h"

#include <torch/nn/modules/container/modulelist.h>
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
  const at::Tensor h = x + attention_(attention_norm_(x), inputs.rope_table, inputs.positions,
                                      inputs.masks->at(kMaskName), inputs.cache);
  return h + feed_forward_(ffn_norm_(h));
}

void TransformerBlock::init_weights(uint64_t seed, const std::string& prefix) {
  nn::init_ones(attention_norm_->weight);
  nn::init_ones(ffn_norm_->weight);
  attention_->init_weights(seed, prefix + ".attention", init_std_);
  feed_forward_->init_weights(seed, prefix + ".feed_forward", init_std_);
}

Transformer::Transformer(const Sizes& sizes, AttentionEngine engine,
                         const at::TensorOptions& options)
    : sizes_(sizes) {
  COEUS_CHECK(sizes.n_heads > 0 && sizes.dim % sizes.n_heads == 0,
              "[llama3] dim {} must be a multiple of n_heads {}", sizes.dim, sizes.n_heads);
  tok_embeddings_ =
      register_module("tok_embeddings", nn::Embedding(sizes.vocab_size, sizes.dim, options));
  auto layers = register_module("layers", std::make_shared<torch::nn::ModuleListImpl>());
  for (int64_t i = 0; i < sizes.n_layers; ++i) {
    layers_.push_back(std::make_shared<TransformerBlock>(i, sizes, engine, options));
    layers->push_back(layers_.back());
  }
  norm_ = register_module("norm", nn::RMSNorm(sizes.dim, sizes.norm_eps, options));
  output_ = register_module("output", nn::Linear(sizes.dim, sizes.vocab_size, options));
  if (!options.device().is_meta())
    rope_table_ = nn::rope_table({.head_dim = sizes.head_dim(),
                                  .max_positions = sizes.max_seq_len,
                                  .theta = sizes.rope_theta,
                                  .scaling = sizes.rope_scaling})
                      .to(options.device());
}

at::Tensor Transformer::forward(const at::Tensor& tokens, const at::Tensor& positions,
                                const AttentionMasks& masks) {
  return logits(tokens, {positions, rope_table_, &masks});
}

at::Tensor Transformer::forward_cached(const at::Tensor& tokens, const at::Tensor& positions,
                                       const AttentionMasks& masks, nn::KeyValueCache& cache) {
  return logits(tokens, {positions, rope_table_, &masks, &cache});
}

at::Tensor Transformer::logits(const at::Tensor& tokens, const nn::OrderedInputs& inputs) {
  COEUS_CHECK(inputs.masks->contains(kMaskName), "[llama3] forward wants the mask \"{}\"",
              kMaskName);
  at::Tensor h = tok_embeddings_(tokens);
  for (const auto& layer : layers_) h = layer->run(h, inputs);
  return output_(norm_(h));
}

AttentionMasks Transformer::get_attention_masks(std::span<const SequenceLayout> rows) const {
  return llama3::get_attention_masks(sizes_.mask, rows);
}

std::vector<OrderSensitiveBuffer> Transformer::get_order_sensitive_buffers(int64_t batch_size,
                                                                           int64_t seq_len) const {
  const std::vector<int64_t> shape = {batch_size, seq_len};
  return {{"tokens", shape, 1}, {"labels", shape, 1}, {"positions", shape, 1}};
}

void Transformer::init_weights(uint64_t seed) {
  nn::init_normal(tok_embeddings_->weight, seed, "tok_embeddings.weight", 1.0);
  for (size_t i = 0; i < layers_.size(); ++i)
    layers_[i]->init_weights(seed, "layers." + std::to_string(i));
  nn::init_ones(norm_->weight);
  const double std = 1.0 / std::sqrt(static_cast<double>(sizes_.dim));
  nn::init_truncated_normal(output_->weight, seed, "output.weight", std, 3 * std);
}

std::vector<nn::Block*> Transformer::blocks() {
  std::vector<nn::Block*> blocks;
  for (const auto& layer : layers_) blocks.push_back(layer.get());
  return blocks;
}

double Transformer::flops_per_token(int64_t seq_len) const {
  const int64_t multiplied = parameter_count(*this) - tok_embeddings_->weight.numel();
  return 6.0 * static_cast<double>(multiplied) +
         12.0 * static_cast<double>(sizes_.n_layers * sizes_.n_heads * sizes_.head_dim()) *
             static_cast<double>(seq_len);
}

Model::ActivationBytes Transformer::activation_bytes_per_token(int64_t element_size) const {
  const auto size = static_cast<double>(element_size);
  const auto dim = static_cast<double>(sizes_.dim);
  const auto kv_dim = static_cast<double>(sizes_.n_kv_heads * sizes_.head_dim());
  const auto hidden = static_cast<double>(sizes_.hidden_dim());
  ActivationBytes bytes;
  // The residual stream stays float32 under autocast: input, middle, and their normed copies.
  bytes.block_input = 4 * dim;
  // Queries and attention's output, keys and values, then gate, up and their product.
  bytes.block = 4 * 4 * dim + size * (2 * dim + 2 * kv_dim + 3 * hidden);
  // Logits and their gradient, and the last norm.
  bytes.outside = 2 * size * static_cast<double>(sizes_.vocab_size) + 8 * dim;
  return bytes;
}

}  // namespace coeus::llama3
