#include "coeus/models/llama4/model.h"

#include <torch/nn/modules/container/modulelist.h>
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

int64_t Sizes::hidden_dim() const { return rounded_up(unrounded_hidden_dim(*this), multiple_of); }

int64_t Sizes::expert_hidden_dim() const {
  const int64_t parts = auto_scale_hidden_dim ? moe.top_k + moe.num_shared_experts : 1;
  return rounded_up(unrounded_hidden_dim(*this) / parts, multiple_of);
}

TransformerBlock::TransformerBlock(int64_t layer_id, const Sizes& sizes, AttentionEngine engine,
                                   const at::TensorOptions& options)
    : init_std_(0.02 / std::sqrt(2.0 * static_cast<double>(sizes.depth_init ? layer_id + 1
                                                                            : sizes.n_layers))) {
  const bool nope = sizes.is_nope(layer_id);
  mask_name_ = sizes.every_n_layers_nope == 0 ? kMaskName : nope ? kNopeMaskName : kRopeMaskName;
  const nn::AttentionSizes attention = {.dim = sizes.dim,
                                        .n_heads = sizes.n_heads,
                                        .n_kv_heads = sizes.n_kv_heads,
                                        .head_dim = sizes.head_dim(),
                                        .use_rope = !nope};
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
  const at::Tensor h = x + attention_(attention_norm_(x), inputs.rope_table, inputs.positions,
                                      inputs.masks->at(mask_name_), inputs.cache);
  const at::Tensor normed = ffn_norm_(h);
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

Transformer::Transformer(const Sizes& sizes, AttentionEngine engine,
                         const at::TensorOptions& options)
    : sizes_(sizes) {
  COEUS_CHECK(sizes.n_heads > 0 && sizes.dim % sizes.n_heads == 0,
              "[llama4] dim {} must be a multiple of n_heads {}", sizes.dim, sizes.n_heads);
  COEUS_CHECK(sizes.every_n_layers_nope == 0 || sizes.every_n_layers_nope > 1,
              "[llama4] every_n_layers_nope must be greater than 1, or 0 for none, got {}",
              sizes.every_n_layers_nope);
  COEUS_CHECK(sizes.interleave_moe_layer_step > 0,
              "[llama4] interleave_moe_layer_step must be at least 1, got {}",
              sizes.interleave_moe_layer_step);
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
  for (const auto& [name, mask] : sizes_.masks)
    COEUS_CHECK(inputs.masks->contains(name), "[llama4] forward wants the mask \"{}\"", name);
  at::Tensor h = tok_embeddings_(tokens);
  for (const auto& layer : layers_) h = layer->run(h, inputs);
  return output_(norm_(h));
}

AttentionMasks Transformer::get_attention_masks(std::span<const SequenceLayout> rows) const {
  return llama4::get_attention_masks(sizes_.masks, rows);
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
  const int64_t multiplied = active_parameter_count(*this) - tok_embeddings_->weight.numel();
  return 6.0 * static_cast<double>(multiplied) +
         12.0 * static_cast<double>(sizes_.n_layers * sizes_.n_heads * sizes_.head_dim()) *
             static_cast<double>(seq_len);
}

Model::ActivationBytes Transformer::activation_bytes_per_token(int64_t element_size) const {
  const auto size = static_cast<double>(element_size);
  const auto dim = static_cast<double>(sizes_.dim);
  const auto kv_dim = static_cast<double>(sizes_.n_kv_heads * sizes_.head_dim());
  const auto experts = static_cast<double>(sizes_.moe.top_k);
  const auto hidden = static_cast<double>(sizes_.expert_hidden_dim());
  const auto shared = static_cast<double>(sizes_.moe.num_shared_experts);
  // Gate, up and their product, of a dense layer and of the experts that a token sees; the latter
  // also keep their input, with and without its score.
  const double dense = size * 3 * static_cast<double>(sizes_.hidden_dim());
  const double routed = experts * (8 * dim + size * 3 * hidden) + size * 3 * shared * hidden;
  const double of_experts = 1.0 / static_cast<double>(sizes_.interleave_moe_layer_step);
  ActivationBytes bytes;
  // The residual stream stays float32 under autocast: input, middle, and their normed copies.
  bytes.block_input = 4 * dim;
  // Queries and attention's output, keys and values.
  bytes.block =
      4 * 4 * dim + size * (2 * dim + 2 * kv_dim) + of_experts * routed + (1 - of_experts) * dense;
  // Logits and their gradient, and the last norm.
  bytes.outside = 2 * size * static_cast<double>(sizes_.vocab_size) + 8 * dim;
  return bytes;
}

Model::AttentionShape Transformer::attention_shape() const {
  return {sizes_.n_heads, sizes_.head_dim(), sizes_.head_dim()};
}

}  // namespace coeus::llama4
