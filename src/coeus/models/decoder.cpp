#include "coeus/models/decoder.h"

#include <torch/nn/modules/container/modulelist.h>
#include <torch/types.h>

#include <cmath>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"
#include "coeus/nn/init.h"

namespace coeus {

Decoder::Decoder(DecoderSizes sizes, const at::TensorOptions& options,
                 const std::function<std::shared_ptr<nn::Block>(int64_t layer_id)>& make_block)
    : sizes_(std::move(sizes)) {
  tok_embeddings_ =
      register_module("tok_embeddings", nn::Embedding(sizes_.vocab_size, sizes_.dim, options));
  auto layers = register_module("layers", std::make_shared<torch::nn::ModuleListImpl>());
  for (int64_t i = 0; i < sizes_.n_layers; ++i) {
    layers_.push_back(make_block(i));
    layers->push_back(layers_.back());
  }
  norm_ = register_module("norm", nn::RMSNorm(sizes_.dim, sizes_.norm_eps, options));
  if (sizes_.tied_output)
    tied_output_ = register_module("output", nn::TiedLinear(tok_embeddings_->weight));
  else
    output_ = register_module("output", nn::Linear(sizes_.dim, sizes_.vocab_size, options));
}

void Decoder::set_rope_table(const at::Tensor& table) {
  rope_table_ = table.to(tok_embeddings_->weight.device());
}

at::Tensor Decoder::forward(const at::Tensor& tokens, const at::Tensor& positions,
                            const AttentionMasks& masks) {
  return logits(run_blocks(embed(tokens), ordered_inputs(positions, masks)));
}

at::Tensor Decoder::forward_cached(const at::Tensor& tokens, const at::Tensor& positions,
                                   const AttentionMasks& masks, nn::KeyValueCache& cache) {
  return logits(run_blocks(embed(tokens), ordered_inputs(positions, masks, &cache)));
}

at::Tensor Decoder::run_blocks(at::Tensor h, const nn::OrderedInputs& inputs) {
  for (const auto& [name, mask] : sizes_.masks)
    COEUS_CHECK(inputs.masks->contains(name),
                "[Decoder::run_blocks] the layers take a mask \"{}\", which is not given: make the "
                "masks by get_attention_masks",
                name);
  for (const auto& layer : layers_) h = layer->run(h, inputs);
  return h;
}

at::Tensor Decoder::logits(const at::Tensor& h) { return output(norm_(h)); }

at::Tensor Decoder::output(const at::Tensor& normed) {
  return output_ ? output_(normed) : tied_output_(normed);
}

AttentionMasks Decoder::get_attention_masks(std::span<const SequenceLayout> rows) const {
  AttentionMasks lowered;
  for (const auto& [name, mask] : sizes_.masks) lowered.emplace(name, lower(mask, rows));
  return lowered;
}

std::vector<OrderSensitiveBuffer> Decoder::get_order_sensitive_buffers(int64_t batch_size,
                                                                       int64_t seq_len) const {
  const std::vector<int64_t> shape = {batch_size, seq_len};
  return {{"tokens", shape, 1}, {"labels", shape, 1}, {"positions", shape, 1}};
}

void Decoder::init_weights(uint64_t seed) {
  if (output_) {
    nn::init_normal(tok_embeddings_->weight, seed, "tok_embeddings.weight", 1.0);
    const double std = 1.0 / std::sqrt(static_cast<double>(sizes_.dim));
    nn::init_truncated_normal(output_->weight, seed, "output.weight", std, 3 * std);
  } else {
    // Small, as Qwen's own: a token's embedding stays in the residual stream, so the larger it is
    // the surer an untrained model is that every token repeats.
    nn::init_truncated_normal(tok_embeddings_->weight, seed, "tok_embeddings.weight", 0.02);
  }
  for (size_t i = 0; i < layers_.size(); ++i)
    layers_[i]->init_weights(seed, "layers." + std::to_string(i));
  nn::init_ones(norm_->weight);
}

std::vector<nn::Block*> Decoder::blocks() {
  std::vector<nn::Block*> blocks;
  for (const auto& layer : layers_) blocks.push_back(layer.get());
  return blocks;
}

double Decoder::flops_per_token(int64_t seq_len) const {
  // Looking a token up multiplies nothing; a tied weight does as output.
  const int64_t looked_up = output_ ? tok_embeddings_->weight.numel() : 0;
  const AttentionShape shape = attention_shape();
  return 6.0 * static_cast<double>(active_parameter_count(*this) - looked_up) +
         6.0 *
             static_cast<double>(sizes_.n_layers * shape.heads *
                                 (shape.key_dim + shape.value_dim)) *
             static_cast<double>(seq_len);
}

Model::ActivationBytes Decoder::activation_bytes_per_token(int64_t element_size) const {
  const auto size = static_cast<double>(element_size);
  const auto dim = static_cast<double>(sizes_.dim);
  ActivationBytes bytes;
  // The residual stream stays float32 under autocast: input, middle, and their normed copies.
  bytes.block_input = 4 * dim;
  bytes.block = 4 * 4 * dim + block_bytes_per_token(size);
  // Logits and their gradient, and the last norm.
  bytes.outside = 2 * size * static_cast<double>(sizes_.vocab_size) + 8 * dim;
  return bytes;
}

}  // namespace coeus
