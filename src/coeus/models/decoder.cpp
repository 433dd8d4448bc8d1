#include "coeus/models/decoder.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>

#include "coeus/base/error.h"
#include "coeus/mask/lower.h"
#include "coeus/nn/init.h"

namespace coeus {

namespace {

/// 3 of "layers.3"; nothing of another module's name.
std::optional<int64_t> layer_number(const std::string& name) {
  constexpr std::string_view kPrefix = "layers.";
  if (!name.starts_with(kPrefix)) return {};
  return std::stoll(name.substr(kPrefix.size()));
}

}  // namespace

Decoder::Decoder(DecoderSizes sizes, const at::TensorOptions& options,
                 const std::function<std::shared_ptr<nn::Block>(int64_t layer_id)>& make_block)
    : sizes_(std::move(sizes)) {
  tok_embeddings_ =
      register_module("tok_embeddings", nn::Embedding(sizes_.vocab_size, sizes_.dim, options));
  // No ModuleList, which would number the layers of a part anew.
  layer_names_ = register_module("layers", std::make_shared<torch::nn::Module>());
  for (int64_t i = 0; i < sizes_.n_layers; ++i)
    layers_[i] = layer_names_->register_module(std::to_string(i), make_block(i));
  norm_ = register_module("norm", nn::RMSNorm(sizes_.dim, sizes_.norm_eps, options));
  if (sizes_.tied_output)
    tied_output_ = register_module("output", nn::TiedLinear(tok_embeddings_->weight));
  else
    output_ = register_module("output", nn::Linear(sizes_.dim, sizes_.vocab_size, options));
}

void Decoder::set_rope_table(const at::Tensor& table) {
  rope_table_ = table.to(tok_embeddings_->weight.device());
}

void Decoder::move_buffers(const at::Device& device) {
  Model::move_buffers(device);
  if (rope_table_.defined()) rope_table_ = rope_table_.to(device);
}

at::Tensor Decoder::hidden_states(const at::Tensor& tokens, const at::Tensor& positions,
                                  const AttentionMasks& masks, const ImageTensors& images) {
  COEUS_CHECK(
      images.count() == 0,
      "[Model] the batch holds {} images and this model reads text alone; take model.name = "
      "\"vlm\" or data without images",
      images.grids.size());
  return normed(run_blocks(embed(tokens), ordered_inputs(positions, masks)));
}

at::Tensor Decoder::forward_cached(const at::Tensor& tokens, const at::Tensor& positions,
                                   const AttentionMasks& masks, nn::KeyValueCache& cache) {
  return output(normed(run_blocks(embed(tokens), ordered_inputs(positions, masks, &cache))));
}

std::vector<std::string> Decoder::pipeline_modules() const {
  std::vector<std::string> names;
  if (tok_embeddings_) names.push_back("tok_embeddings");
  for (const auto& [number, layer] : layers_) names.push_back(fmt::format("layers.{}", number));
  if (norm_) names.push_back("norm");
  if (output_ || tied_output_) names.push_back("output");
  return names;
}

std::string Decoder::pipeline_obstacle() const {
  return sizes_.tied_output
             ? "its output multiplies by the embedding's weight (tied weights), which would be in "
               "the first and the last stage; take another flavour"
             : "";
}

void Decoder::keep_modules(const std::vector<std::string>& names) {
  COEUS_CHECK(pipeline_obstacle().empty(),
              "[Decoder::keep_modules] this model cannot be cut into parts: {}",
              pipeline_obstacle());
  const std::vector<std::string> there = pipeline_modules();
  for (const std::string& name : names)
    COEUS_CHECK(std::find(there.begin(), there.end(), name) != there.end(),
                "[Decoder::keep_modules] there is no module \"{}\"; there are {}", name,
                fmt::join(there, ", "));
  for (const std::string& name : there) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    if (name == "tok_embeddings") tok_embeddings_ = nullptr;
    if (name == "norm") norm_ = nullptr;
    if (name == "output") output_ = nullptr;
    if (const auto number = layer_number(name)) {
      layer_names_->unregister_module(std::to_string(*number));
      layers_.erase(*number);
    } else {
      unregister_module(name);
    }
  }
}

at::Tensor Decoder::forward_part(const at::Tensor& input, const at::Tensor& positions,
                                 const AttentionMasks& masks) {
  at::Tensor h = tok_embeddings_ ? tok_embeddings_(input) : input;
  h = run_blocks(h, ordered_inputs(positions, masks));
  return norm_ ? norm_(h) : h;
}

at::Tensor Decoder::embed(const at::Tensor& tokens) {
  COEUS_CHECK(tok_embeddings_, "[Decoder::embed] this part of a model begins with {}",
              fmt::join(pipeline_modules(), ", "));
  return tok_embeddings_(tokens);
}

at::Tensor Decoder::run_blocks(at::Tensor h, const nn::OrderedInputs& inputs) {
  for (const auto& [name, mask] : sizes_.masks)
    COEUS_CHECK(inputs.masks->contains(name),
                "[Decoder::run_blocks] the layers take a mask \"{}\", which is not given: make the "
                "masks by get_attention_masks",
                name);
  for (const auto& [number, layer] : layers_) h = layer->run(h, inputs);
  return h;
}

at::Tensor Decoder::normed(const at::Tensor& h) {
  COEUS_CHECK(norm_, "[Decoder::normed] this part of a model is only {}",
              fmt::join(pipeline_modules(), ", "));
  return norm_(h);
}

at::Tensor Decoder::output(const at::Tensor& normed) {
  COEUS_CHECK(output_ || tied_output_, "[Decoder::output] this part of a model is only {}",
              fmt::join(pipeline_modules(), ", "));
  return output_ ? output_(normed) : tied_output_(normed);
}

at::Tensor Decoder::loss_by_chunks(const at::Tensor& normed, const at::Tensor& labels,
                                   int64_t chunk_size, const CrossEntropy& cross_entropy) {
  COEUS_CHECK(output_ || tied_output_, "[Decoder::loss_by_chunks] this part of a model is only {}",
              fmt::join(pipeline_modules(), ", "));
  return output_ ? output_->cross_entropy_sum(normed, labels, chunk_size, cross_entropy)
                 : tied_output_->cross_entropy_sum(normed, labels, chunk_size, cross_entropy);
}

AttentionMasks Decoder::get_attention_masks(std::span<const SequenceLayout> rows) const {
  AttentionMasks lowered;
  for (const auto& [name, mask] : sizes_.masks) lowered.emplace(name, lower(mask, rows));
  return lowered;
}

std::map<std::string, int64_t> Decoder::layers_by_mask() const {
  std::map<std::string, int64_t> layers;
  for (const auto& [name, mask] : sizes_.masks) layers[name] = sizes_.n_layers;
  return layers;
}

std::vector<OrderSensitiveBuffer> Decoder::get_order_sensitive_buffers(int64_t batch_size,
                                                                       int64_t seq_len) const {
  const std::vector<int64_t> shape = {batch_size, seq_len};
  return {{"tokens", shape, 1}, {"labels", shape, 1}, {"positions", shape, 1}};
}

void Decoder::init_weights(uint64_t seed) {
  if (tok_embeddings_ && sizes_.tied_output) {
    // Small, as Qwen's own: a token's embedding stays in the residual stream, so the larger it is
    // the surer an untrained model is that every token repeats.
    nn::init_truncated_normal(tok_embeddings_->weight, seed, "tok_embeddings.weight", 0.02);
  } else if (tok_embeddings_) {
    nn::init_normal(tok_embeddings_->weight, seed, "tok_embeddings.weight", 1.0);
  }
  for (const auto& [number, layer] : layers_)
    layer->init_weights(seed, fmt::format("layers.{}", number));
  if (norm_) nn::init_ones(norm_->weight);
  if (output_) {
    const double std = 1.0 / std::sqrt(static_cast<double>(sizes_.dim));
    nn::init_truncated_normal(output_->weight, seed, "output.weight", std, 3 * std);
  }
}

std::vector<nn::Block*> Decoder::blocks() {
  std::vector<nn::Block*> blocks;
  for (const auto& [number, layer] : layers_) blocks.push_back(layer.get());
  return blocks;
}

double Decoder::flops_per_token(int64_t seq_len) const {
  // Looking a token up multiplies nothing; a tied weight does as output.
  const bool only_looks_up = tok_embeddings_ && !sizes_.tied_output;
  const int64_t looked_up = only_looks_up ? tok_embeddings_->weight.numel() : 0;
  const AttentionShape shape = attention_shape();
  return 6.0 * static_cast<double>(active_parameter_count(*this) - looked_up) +
         6.0 *
             static_cast<double>(static_cast<int64_t>(layers_.size()) * shape.heads *
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
  if (output_ || tied_output_) bytes.logits = 2 * size * static_cast<double>(sizes_.vocab_size);
  // The last norm.
  if (norm_) bytes.outside += 8 * dim;
  return bytes;
}

}  // namespace coeus
