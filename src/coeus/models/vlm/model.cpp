#include "coeus/models/vlm/model.h"

#include <torch/types.h>

#include "coeus/base/error.h"
#include "coeus/models/llama3/masks.h"

namespace coeus::vlm {

namespace {

int64_t parameters_of(const torch::nn::Module& module) {
  int64_t count = 0;
  for (const at::Tensor& parameter : module.parameters()) count += parameter.numel();
  return count;
}

/// The decoder's mask under the name by which its layers take it.
AttentionMasks decoder_masks(const AttentionMasks& masks) {
  const auto found = masks.find(kDecoderMaskName);
  COEUS_CHECK(found != masks.end(), "[vlm] forward wants the mask \"{}\"", kDecoderMaskName);
  return {{llama3::kMaskName, found->second}};
}

}  // namespace

Transformer::Transformer(const Sizes& sizes, AttentionEngine engine,
                         const at::TensorOptions& options)
    : sizes_(sizes) {
  encoder_ = register_module("encoder",
                             std::make_shared<VisionTransformer>(sizes.encoder, engine, options));
  projector_ = register_module(
      "projector", std::make_shared<Projector>(sizes.encoder.dim, sizes.decoder.dim, options));
  decoder_ = std::make_shared<llama3::Transformer>(sizes.decoder, engine, options);
  // Its parts become this model's, under TorchTitan's names: "layers.0", not "decoder.layers.0".
  for (const auto& part : decoder_->named_children()) register_module(part.key(), part.value());
}

at::Tensor Transformer::forward_cached(const at::Tensor& tokens, const at::Tensor& positions,
                                       const AttentionMasks& masks, nn::KeyValueCache& cache) {
  return decoder_->forward_cached(tokens, positions, decoder_masks(masks), cache);
}

at::Tensor Transformer::hidden_states(const at::Tensor& tokens, const at::Tensor& positions,
                                      const AttentionMasks& masks, const ImageTensors& images) {
  const at::Tensor places = images.places.defined()
                                ? images.places
                                : (tokens == images.token).flatten().nonzero().squeeze(1);
  const int64_t wanted = images.order.defined() ? images.order.size(0) : images.count();
  COEUS_CHECK(places.size(0) == wanted,
              "[vlm] the rows have {} image tokens (id {}) and their images {} patches; each patch "
              "wants one token",
              places.size(0), images.token, wanted);
  at::Tensor h = decoder_->embed(tokens);
  if (places.size(0) > 0) {
    at::Tensor seen =
        projector_->forward(encoder_->forward(images.patches, images.grids, masks))[0];
    if (images.order.defined()) seen = seen.index_select(0, images.order);
    h = h.flatten(0, 1).index_copy(0, places, seen.to(h.scalar_type())).view(h.sizes());
  }
  const AttentionMasks of_decoder = decoder_masks(masks);
  return decoder_->normed(decoder_->run_blocks(h, decoder_->ordered_inputs(positions, of_decoder)));
}

AttentionMasks Transformer::get_attention_masks(std::span<const SequenceLayout> rows) const {
  return vlm::get_attention_masks(sizes_.masks, rows);
}

AttentionMasks Transformer::get_image_masks(const SequenceLayout& images) const {
  return vlm::get_image_masks(sizes_.masks, images);
}

std::vector<OrderSensitiveBuffer> Transformer::get_order_sensitive_buffers(int64_t batch_size,
                                                                           int64_t seq_len) const {
  return decoder_->get_order_sensitive_buffers(batch_size, seq_len);
}

void Transformer::move_buffers(const at::Device& device) {
  Model::move_buffers(device);
  decoder_->move_buffers(device);
}

void Transformer::init_weights(uint64_t seed) {
  decoder_->init_weights(seed);
  encoder_->init_weights(seed, "encoder");
  projector_->init_weights(seed, "projector");
}

std::vector<nn::Block*> Transformer::blocks() {
  std::vector<nn::Block*> blocks;
  for (const auto& layer : encoder_->layers()) blocks.push_back(layer.get());
  for (nn::Block* block : decoder_->blocks()) blocks.push_back(block);
  return blocks;
}

double Transformer::flops_per_token(int64_t seq_len) const {
  return decoder_->flops_per_token(seq_len) +
         6.0 * static_cast<double>(parameters_of(*encoder_) + parameters_of(*projector_));
}

Model::ActivationBytes Transformer::activation_bytes_per_token(int64_t element_size) const {
  const auto size = static_cast<double>(element_size);
  const auto dim = static_cast<double>(sizes_.encoder.dim);
  const auto ffn_dim = static_cast<double>(sizes_.encoder.ffn_dim);
  const auto encoder_layers = static_cast<double>(sizes_.encoder.n_layers);
  const auto decoder_layers = static_cast<double>(sizes_.decoder.n_layers);
  // Input, middle and their normed copies; queries, keys, values and attention's output; the hidden
  // layer before and after its activation.
  const double encoder_block = 4 * 4 * dim + size * (4 * dim + 2 * ffn_dim);
  ActivationBytes bytes = decoder_->activation_bytes_per_token(element_size);
  const auto mean = [&](double of_encoder, double of_decoder) {
    return (encoder_layers * of_encoder + decoder_layers * of_decoder) /
           (encoder_layers + decoder_layers);
  };
  bytes.block = mean(encoder_block, bytes.block);
  bytes.block_input = mean(4 * dim, bytes.block_input);
  // Patches and their embedding, the last norm, the projector's hidden layer and its output.
  bytes.outside += 4 * static_cast<double>(patch_dim()) + 3 * 4 * dim +
                   size * (2 * dim + static_cast<double>(sizes_.decoder.dim));
  return bytes;
}

}  // namespace coeus::vlm
