#include "coeus/models/qwen3/model.h"

#include <torch/nn/modules/container/modulelist.h>
#include <torch/types.h>

#include <cmath>

#include "coeus/base/error.h"
#include "coeus/models/qwen3/masks.h"
#include "coeus/nn/init.h"
#include "coeus/nn/rope.h"
#include "coeus/ops/linear.h"

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
  if (sizes.moe)
    moe_ = register_module("moe", nn::MoE(sizes.dim, sizes.moe_hidden_dim, *sizes.moe, options));
  else
    feed_forward_ =
        register_module("feed_forward", nn::FeedForward(sizes.dim, sizes.hidden_dim, options));
  attention_norm_ =
      register_module("attention_norm", nn::RMSNorm(sizes.dim, sizes.norm_eps, options));
  ffn_norm_ = register_module("ffn_norm", nn::RMSNorm(sizes.dim, sizes.norm_eps, options));
}

at::Tensor TransformerBlock::forward(const at::Tensor& x, const nn::OrderedInputs& inputs) {
  const at::Tensor h = x + attention_(attention_norm_(x), inputs.rope_table, inputs.positions,
                                      inputs.masks->at(kMaskName), inputs.cache);
  const at::Tensor normed = ffn_norm_(h);
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
    : sizes_(sizes) {
  tok_embeddings_ =
      register_module("tok_embeddings", nn::Embedding(sizes.vocab_size, sizes.dim, options));
  auto layers = register_module("layers", std::make_shared<torch::nn::ModuleListImpl>());
  for (int64_t i = 0; i < sizes.n_layers; ++i) {
    layers_.push_back(std::make_shared<TransformerBlock>(i, sizes, engine, options));
    layers->push_back(layers_.back());
  }
  norm_ = register_module("norm", nn::RMSNorm(sizes.dim, sizes.norm_eps, options));
  if (!sizes.enable_weight_tying)
    output_ = register_module("output", nn::Linear(sizes.dim, sizes.vocab_size, options));
  if (!options.device().is_meta())
    rope_table_ =
        nn::rope_table(nn::rope_frequencies(sizes.head_dim, sizes.rope_theta), sizes.max_seq_len)
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
  COEUS_CHECK(inputs.masks->contains(kMaskName), "[qwen3] forward wants the mask \"{}\"",
              kMaskName);
  at::Tensor h = tok_embeddings_(tokens);
  for (const auto& layer : layers_) h = layer->run(h, inputs);
  h = norm_(h);
  return output_.is_empty() ? coeus::linear(h, tok_embeddings_->weight) : output_(h);
}

AttentionMasks Transformer::get_attention_masks(std::span<const SequenceLayout> rows) const {
  return qwen3::get_attention_masks(sizes_.mask, rows);
}

std::vector<OrderSensitiveBuffer> Transformer::get_order_sensitive_buffers(int64_t batch_size,
                                                                           int64_t seq_len) const {
  const std::vector<int64_t> shape = {batch_size, seq_len};
  return {{"tokens", shape, 1}, {"labels", shape, 1}, {"positions", shape, 1}};
}

void Transformer::init_weights(uint64_t seed) {
  const double out_std = 1.0 / std::sqrt(static_cast<double>(sizes_.dim));
  if (output_.is_empty()) {
    // Small, as Qwen's own: a token's embedding stays in the residual stream, so the larger it is
    // the surer an untrained model is that every token repeats.
    nn::init_truncated_normal(tok_embeddings_->weight, seed, "tok_embeddings.weight", 0.02);
  } else {
    nn::init_normal(tok_embeddings_->weight, seed, "tok_embeddings.weight", 1.0);
    nn::init_truncated_normal(output_->weight, seed, "output.weight", out_std, 3 * out_std);
  }
  for (size_t i = 0; i < layers_.size(); ++i)
    layers_[i]->init_weights(seed, "layers." + std::to_string(i));
  nn::init_ones(norm_->weight);
}

std::vector<nn::Block*> Transformer::blocks() {
  std::vector<nn::Block*> blocks;
  for (const auto& layer : layers_) blocks.push_back(layer.get());
  return blocks;
}

double Transformer::flops_per_token(int64_t seq_len) const {
  // Looking a token up multiplies nothing; a tied weight does as output.
  const int64_t looked_up = output_.is_empty() ? 0 : tok_embeddings_->weight.numel();
  return 6.0 * static_cast<double>(active_parameter_count(*this) - looked_up) +
         12.0 * static_cast<double>(sizes_.n_layers * sizes_.n_heads * sizes_.head_dim) *
             static_cast<double>(seq_len);
}

Model::ActivationBytes Transformer::activation_bytes_per_token(int64_t element_size) const {
  const auto size = static_cast<double>(element_size);
  const auto dim = static_cast<double>(sizes_.dim);
  const auto q_dim = static_cast<double>(sizes_.n_heads * sizes_.head_dim);
  const auto kv_dim = static_cast<double>(sizes_.n_kv_heads * sizes_.head_dim);
  ActivationBytes bytes;
  // The residual stream stays float32 under autocast: input, middle, and their normed copies.
  bytes.block_input = 4 * dim;
  // Queries and keys before and after their norms, values, and attention's output.
  bytes.block =
      4 * 4 * dim + size * ((sizes_.qk_norm ? 3 : 2) * q_dim + (sizes_.qk_norm ? 3 : 2) * kv_dim);
  if (sizes_.moe) {
    const auto top_k = static_cast<double>(sizes_.moe->top_k);
    // Each expert's input, gate, up, product and output; the router's logits and scores.
    bytes.block += top_k * size * (2 * dim + 3 * static_cast<double>(sizes_.moe_hidden_dim)) +
                   2 * 4 * static_cast<double>(sizes_.moe->num_experts);
  } else {
    bytes.block += 3 * size * static_cast<double>(sizes_.hidden_dim);
  }
  // Logits and their gradient, and the last norm.
  bytes.outside = 2 * size * static_cast<double>(sizes_.vocab_size) + 8 * dim;
  return bytes;
}

}  // namespace coeus::qwen3
