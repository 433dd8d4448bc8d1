#include "coeus/models/deepseek_v3/model.h"

#include <torch/nn/modules/container/modulelist.h>
#include <torch/types.h>

#include <cmath>

#include "coeus/base/error.h"
#include "coeus/models/deepseek_v3/masks.h"
#include "coeus/nn/init.h"
#include "coeus/nn/rope.h"
#include "coeus/ops/cross_entropy.h"

namespace coeus::deepseek_v3 {

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
  if (sizes.n_prediction_layers > 0) {
    auto predictions = register_module("mtp_layers", std::make_shared<torch::nn::ModuleListImpl>());
    for (int64_t i = 0; i < sizes.n_prediction_layers; ++i) {
      prediction_layers_.push_back(
          std::make_shared<PredictionLayer>(sizes.n_layers - 1, sizes, engine, options));
      predictions->push_back(prediction_layers_.back());
    }
  }
  norm_ = register_module("norm", nn::RMSNorm(sizes.dim, sizes.final_norm_eps, options));
  output_ = register_module("output", nn::Linear(sizes.dim, sizes.vocab_size, options));
  if (!options.device().is_meta()) {
    at::Tensor frequencies = nn::rope_frequencies(sizes.qk_rope_head_dim, sizes.rope_theta);
    if (sizes.is_stretched())
      frequencies = nn::yarn_frequencies(frequencies, sizes.rope_theta, *sizes.yarn);
    rope_table_ = nn::rope_table(frequencies, sizes.max_seq_len).to(options.device());
  }
}

at::Tensor Transformer::forward(const at::Tensor& tokens, const at::Tensor& positions,
                                const AttentionMasks& masks) {
  return output_(norm_(hidden(tokens, {positions, rope_table_, &masks})));
}

at::Tensor Transformer::forward_cached(const at::Tensor& tokens, const at::Tensor& positions,
                                       const AttentionMasks& masks, nn::KeyValueCache& cache) {
  return output_(norm_(hidden(tokens, {positions, rope_table_, &masks, &cache})));
}

at::Tensor Transformer::loss_sum(const at::Tensor& tokens, const at::Tensor& labels,
                                 const at::Tensor& positions, const AttentionMasks& masks) {
  const nn::OrderedInputs inputs = {positions, rope_table_, &masks};
  at::Tensor h = hidden(tokens, inputs);
  at::Tensor loss = cross_entropy_sum(output_(norm_(h)), labels);
  const auto depths = static_cast<int64_t>(prediction_layers_.size());
  for (int64_t depth = 1; depth <= depths; ++depth) {
    const auto [further, known] = shifted_left(tokens, positions, depth, 0);
    const at::Tensor joined =
        at::cat({tok_embeddings_(further), h * known.unsqueeze(-1).to(h.scalar_type())}, -1);
    h = prediction_layers_[depth - 1]->run(joined, inputs);
    const at::Tensor aims = shifted_left(labels, positions, depth, kIgnoredLabel).first;
    loss = loss + cross_entropy_sum(output_(h), aims) *
                      (sizes_.prediction_loss_weight / static_cast<double>(depths));
  }
  return loss;
}

at::Tensor Transformer::hidden(const at::Tensor& tokens, const nn::OrderedInputs& inputs) {
  COEUS_CHECK(inputs.masks->contains(kMaskName), "[deepseek_v3] forward wants the mask \"{}\"",
              kMaskName);
  at::Tensor h = tok_embeddings_(tokens);
  for (const auto& layer : layers_) h = layer->run(h, inputs);
  return h;
}

AttentionMasks Transformer::get_attention_masks(std::span<const SequenceLayout> rows) const {
  return deepseek_v3::get_attention_masks(sizes_.mask, rows);
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
  for (size_t i = 0; i < prediction_layers_.size(); ++i)
    prediction_layers_[i]->init_weights(seed, "mtp_layers." + std::to_string(i));
  nn::init_ones(norm_->weight);
  const double std = 1.0 / std::sqrt(static_cast<double>(sizes_.dim));
  nn::init_truncated_normal(output_->weight, seed, "output.weight", std, 3 * std);
}

std::vector<nn::Block*> Transformer::blocks() {
  std::vector<nn::Block*> blocks;
  for (const auto& layer : layers_) blocks.push_back(layer.get());
  for (const auto& layer : prediction_layers_) blocks.push_back(layer.get());
  return blocks;
}

double Transformer::flops_per_token(int64_t seq_len) const {
  // The output is multiplied once more for every further token predicted.
  const int64_t further = sizes_.n_prediction_layers;
  const int64_t multiplied = active_parameter_count(*this) - tok_embeddings_->weight.numel() +
                             further * output_->weight.numel();
  // Scores multiply heads as wide as keys, their sums heads as wide as values.
  const int64_t widths = sizes_.attention().qk_head_dim() + sizes_.v_head_dim;
  return 6.0 * static_cast<double>(multiplied) +
         6.0 * static_cast<double>((sizes_.n_layers + further) * sizes_.n_heads * widths) *
             static_cast<double>(seq_len);
}

Model::ActivationBytes Transformer::activation_bytes_per_token(int64_t element_size) const {
  const auto size = static_cast<double>(element_size);
  const auto dim = static_cast<double>(sizes_.dim);
  const auto qk_dim = static_cast<double>(sizes_.n_heads * sizes_.attention().qk_head_dim());
  const auto v_dim = static_cast<double>(sizes_.n_heads * sizes_.v_head_dim);
  const auto rank = static_cast<double>(sizes_.q_lora_rank + sizes_.kv_lora_rank);
  const auto top_k = static_cast<double>(sizes_.moe.top_k);
  const auto shared = static_cast<double>(sizes_.moe.num_shared_experts);
  const auto expert = static_cast<double>(sizes_.moe_hidden_dim);
  ActivationBytes bytes;
  // The residual stream stays float32 under autocast: input, middle, and their normed copies.
  bytes.block_input = 4 * dim;
  // Latents before and after their norms, queries, keys, values and attention's output; then of
  // every expert its input, gate, up, product and output, of the shared ones all but the first and
  // last, and the router's logits and scores.
  const double attention = 2 * rank + 2 * qk_dim + 2 * v_dim;
  const double experts = top_k * (2 * dim + 3 * expert) + 3 * shared * expert;
  bytes.block = 4 * 4 * dim + size * (attention + experts) +
                2 * 4 * static_cast<double>(sizes_.moe.num_experts);
  // Logits and their gradient, and the last norm.
  bytes.outside = 2 * size * static_cast<double>(sizes_.vocab_size) + 8 * dim;
  return bytes;
}

}  // namespace coeus::deepseek_v3
