#include "coeus/models/vlm/siglip2.h"

#include <torch/nn/modules/container/modulelist.h>
#include <torch/types.h>

#include <map>
#include <utility>

#include "coeus/base/error.h"
#include "coeus/models/vlm/masks.h"
#include "coeus/nn/autocast.h"
#include "coeus/nn/init.h"

namespace coeus::vlm {

namespace {

nn::Linear biased(int64_t in, int64_t out, const at::TensorOptions& options) {
  return nn::Linear(in, out, options, /*bias=*/true);
}

void init_linear(nn::Linear& linear, uint64_t seed, const std::string& name) {
  nn::init_truncated_normal(linear->weight, seed, name + ".weight", 0.02);
  nn::init_zeros(linear->bias);
}

/// "layers.0" of the encoder "encoder" is "encoder.layers.0".
std::string joined(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

/// What each of `count` places along an image takes of the `side` places along the square: [count,
/// side], the weights of LibTorch's own resizing. As products with them resizing has a gradient
/// that is added up in one order on a GPU too, which LibTorch's has not.
at::Tensor resizing_weights(int64_t side, int64_t count) {
  const at::Tensor units = at::eye(side).view({1, side, 1, side});
  return at::_upsample_bilinear2d_aa(units, at::IntArrayRef({1, count}), /*align_corners=*/false,
                                     std::nullopt, std::nullopt)
      .view({side, count})
      .t();
}

}  // namespace

at::Tensor resized_position_embeddings(const at::Tensor& table, int64_t side,
                                       const ImageGrid& grid) {
  COEUS_CHECK(grid.rows > 0 && grid.columns > 0,
              "[siglip2] an image of {} x {} patches has nothing to see; give it 1 x 1 or more",
              grid.rows, grid.columns);
  const nn::Autocast off(at::kFloat);
  const int64_t dim = table.size(1);
  const at::Tensor of_rows = resizing_weights(side, grid.rows).to(table.device());
  const at::Tensor of_columns = resizing_weights(side, grid.columns).to(table.device());
  const at::Tensor by_rows = of_rows.mm(table.to(at::kFloat).view({side, side * dim}));
  return of_columns.matmul(by_rows.view({grid.rows, side, dim})).flatten(0, 1);
}

VisionEmbeddings::VisionEmbeddings(const Siglip2Sizes& sizes, const at::TensorOptions& options)
    : side_(sizes.n_pos_embs) {
  patch_embedding_ =
      register_module("patch_embedding", biased(sizes.patch_dim(), sizes.dim, options));
  position_embedding_ =
      register_module("position_embedding", nn::Embedding(side_ * side_, sizes.dim, options));
}

at::Tensor VisionEmbeddings::forward(const at::Tensor& patches, std::span<const ImageGrid> grids) {
  // Images of one size share one resizing.
  std::map<std::pair<int64_t, int64_t>, at::Tensor> by_size;
  std::vector<at::Tensor> positions;
  for (const ImageGrid& grid : grids) {
    at::Tensor& resized = by_size[{grid.rows, grid.columns}];
    if (!resized.defined())
      resized = resized_position_embeddings(position_embedding_->weight, side_, grid);
    positions.push_back(resized);
  }
  const at::Tensor embedded = patch_embedding_(patches.to(patch_embedding_->weight.scalar_type()));
  return embedded + at::cat(positions).to(position_embedding_->weight.scalar_type());
}

void VisionEmbeddings::init_weights(uint64_t seed, const std::string& prefix) {
  init_linear(patch_embedding_, seed, prefix + ".patch_embedding");
  nn::init_normal(position_embedding_->weight, seed, prefix + ".position_embedding.weight", 1.0);
}

VisionAttention::VisionAttention(const Siglip2Sizes& sizes, AttentionEngine engine,
                                 const at::TensorOptions& options)
    : head_dim_(sizes.head_dim()) {
  q_proj_ = register_module("q_proj", biased(sizes.dim, sizes.dim, options));
  k_proj_ = register_module("k_proj", biased(sizes.dim, sizes.dim, options));
  v_proj_ = register_module("v_proj", biased(sizes.dim, sizes.dim, options));
  out_proj_ = register_module("out_proj", biased(sizes.dim, sizes.dim, options));
  inner_attention_ = register_module("inner_attention", nn::InnerAttention(engine));
}

at::Tensor VisionAttention::forward(const at::Tensor& x, const BlockMask& mask) {
  const auto heads = [&](nn::Linear& projection) {
    return projection(x).unflatten(-1, {-1, head_dim_});
  };
  const at::Tensor q = heads(q_proj_), k = heads(k_proj_), v = heads(v_proj_);
  return out_proj_(inner_attention_(q, k, v, mask).flatten(-2));
}

void VisionAttention::init_weights(uint64_t seed, const std::string& prefix) {
  init_linear(q_proj_, seed, prefix + ".q_proj");
  init_linear(k_proj_, seed, prefix + ".k_proj");
  init_linear(v_proj_, seed, prefix + ".v_proj");
  init_linear(out_proj_, seed, prefix + ".out_proj");
}

VisionFeedForward::VisionFeedForward(const Siglip2Sizes& sizes, const at::TensorOptions& options) {
  fc1_ = register_module("fc1", biased(sizes.dim, sizes.ffn_dim, options));
  fc2_ = register_module("fc2", biased(sizes.ffn_dim, sizes.dim, options));
}

at::Tensor VisionFeedForward::forward(const at::Tensor& x) {
  return fc2_(at::gelu(fc1_(x), "tanh"));
}

void VisionFeedForward::init_weights(uint64_t seed, const std::string& prefix) {
  init_linear(fc1_, seed, prefix + ".fc1");
  init_linear(fc2_, seed, prefix + ".fc2");
}

VisionBlock::VisionBlock(const Siglip2Sizes& sizes, AttentionEngine engine,
                         const at::TensorOptions& options) {
  layer_norm1_ =
      register_module("layer_norm1", nn::LayerNorm(sizes.dim, sizes.layer_norm_eps, options));
  self_attn_ =
      register_module("self_attn", std::make_shared<VisionAttention>(sizes, engine, options));
  layer_norm2_ =
      register_module("layer_norm2", nn::LayerNorm(sizes.dim, sizes.layer_norm_eps, options));
  mlp_ = register_module("mlp", std::make_shared<VisionFeedForward>(sizes, options));
}

at::Tensor VisionBlock::forward(const at::Tensor& x, const nn::OrderedInputs& inputs) {
  const at::Tensor h = x + self_attn_->forward(layer_norm1_(x), inputs.masks->at(kEncoderMaskName));
  return h + mlp_->forward(layer_norm2_(h));
}

void VisionBlock::init_weights(uint64_t seed, const std::string& prefix) {
  layer_norm1_->init_weights();
  layer_norm2_->init_weights();
  self_attn_->init_weights(seed, prefix + ".self_attn");
  mlp_->init_weights(seed, prefix + ".mlp");
}

VisionTransformer::VisionTransformer(const Siglip2Sizes& sizes, AttentionEngine engine,
                                     const at::TensorOptions& options)
    : sizes_(sizes) {
  COEUS_CHECK(sizes.n_heads > 0 && sizes.dim % sizes.n_heads == 0,
              "[siglip2] dim {} must be a multiple of n_heads {}", sizes.dim, sizes.n_heads);
  embeddings_ = register_module("embeddings", std::make_shared<VisionEmbeddings>(sizes, options));
  auto layers = register_module("layers", std::make_shared<torch::nn::ModuleListImpl>());
  for (int64_t i = 0; i < sizes.n_layers; ++i) {
    layers_.push_back(std::make_shared<VisionBlock>(sizes, engine, options));
    layers->push_back(layers_.back());
  }
  post_layernorm_ =
      register_module("post_layernorm", nn::LayerNorm(sizes.dim, sizes.layer_norm_eps, options));
}

at::Tensor VisionTransformer::forward(const at::Tensor& patches, std::span<const ImageGrid> grids,
                                      const AttentionMasks& masks) {
  COEUS_CHECK(patches.dim() == 3 && patches.size(0) == 1 && patches.size(2) == sizes_.patch_dim(),
              "[siglip2] patches must be [1, patches, {}] ({} x {} pixels of {} channels), got {}; "
              "cut images into such patches",
              sizes_.patch_dim(), sizes_.patch_size, sizes_.patch_size, sizes_.n_channels,
              patches.sizes());
  int64_t count = 0;
  for (const ImageGrid& grid : grids) count += grid.patches();
  COEUS_CHECK(count == patches.size(1),
              "[siglip2] the grids of {} images have {} patches, but {} are given", grids.size(),
              count, patches.size(1));
  COEUS_CHECK(masks.contains(kEncoderMaskName), "[siglip2] forward wants the mask \"{}\"",
              kEncoderMaskName);
  at::Tensor h = embeddings_->forward(patches, grids);
  const nn::OrderedInputs inputs = {.masks = &masks};
  for (const auto& layer : layers_) h = layer->run(h, inputs);
  return post_layernorm_(h);
}

void VisionTransformer::init_weights(uint64_t seed, const std::string& prefix) {
  embeddings_->init_weights(seed, joined(prefix, "embeddings"));
  for (size_t i = 0; i < layers_.size(); ++i)
    layers_[i]->init_weights(seed, joined(prefix, "layers." + std::to_string(i)));
  post_layernorm_->init_weights();
}

}  // namespace coeus::vlm
