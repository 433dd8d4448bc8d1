// Siglip2's vision encoder (arXiv 2502.14786) for images of any size and aspect ratio, with
// TorchTitan's parameter names and initialisation.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "coeus/data/images/image_patches.h"
#include "coeus/nn/block.h"
#include "coeus/nn/embedding.h"
#include "coeus/nn/inner_attention.h"
#include "coeus/nn/layer_norm.h"
#include "coeus/nn/linear.h"

namespace coeus::vlm {

/// What a flavour fixes of the encoder. The defaults are Siglip2's base size, patch16.
struct Siglip2Sizes {
  int64_t dim = 768;
  int64_t ffn_dim = 3072;
  int64_t n_layers = 12;
  int64_t n_heads = 12;
  /// Learned position embeddings along either side of a square, which is stretched to each image.
  int64_t n_pos_embs = 16;
  int64_t n_channels = 3;
  int64_t patch_size = 16;
  double layer_norm_eps = 1e-6;

  int64_t head_dim() const { return dim / n_heads; }
  /// Numbers that make a patch: rows of columns of channels.
  int64_t patch_dim() const { return patch_size * patch_size * n_channels; }
};

/// The position embeddings of an image's patches, row by row: float32 [rows * columns, dim], the
/// `side` x `side` learned ones of table [side * side, dim] resized bilinearly, with antialiasing
/// where the image is the smaller. Throws Error for a grid without patches.
at::Tensor resized_position_embeddings(const at::Tensor& table, int64_t side,
                                       const ImageGrid& grid);

/// Patches to vectors: a linear layer and the position embeddings.
class VisionEmbeddings : public torch::nn::Module {
 public:
  VisionEmbeddings(const Siglip2Sizes& sizes, const at::TensorOptions& options);
  /// patches: [1, patches, patch_dim], those of all `grids` one after another.
  /// Returns [1, patches, dim].
  at::Tensor forward(const at::Tensor& patches, std::span<const ImageGrid> grids);
  /// `prefix` is the layer's name in the model ("encoder.embeddings").
  void init_weights(uint64_t seed, const std::string& prefix);

 private:
  int64_t side_;
  nn::Linear patch_embedding_{nullptr};
  nn::Embedding position_embedding_{nullptr};
};

/// Multi-head attention among patches; positions came in with the embeddings.
class VisionAttention : public torch::nn::Module {
 public:
  VisionAttention(const Siglip2Sizes& sizes, AttentionEngine engine,
                  const at::TensorOptions& options);
  /// x: [batch, patches, dim], returned in the same shape.
  at::Tensor forward(const at::Tensor& x, const BlockMask& mask);
  void init_weights(uint64_t seed, const std::string& prefix);

 private:
  int64_t head_dim_;
  nn::Linear q_proj_{nullptr};
  nn::Linear k_proj_{nullptr};
  nn::Linear v_proj_{nullptr};
  nn::Linear out_proj_{nullptr};
  nn::InnerAttention inner_attention_{nullptr};
};

/// fc2(gelu(fc1 x)), gelu by its approximation with tanh.
class VisionFeedForward : public torch::nn::Module {
 public:
  VisionFeedForward(const Siglip2Sizes& sizes, const at::TensorOptions& options);
  /// x: [..., dim], returned in the same shape.
  at::Tensor forward(const at::Tensor& x);
  void init_weights(uint64_t seed, const std::string& prefix);

 private:
  nn::Linear fc1_{nullptr};
  nn::Linear fc2_{nullptr};
};

/// h + attention(norm(h)), then h + feed_forward(norm(h)). Takes the mask kEncoderMaskName; of what
/// OrderedInputs holds beside the masks it needs nothing.
class VisionBlock : public nn::Block {
 public:
  VisionBlock(const Siglip2Sizes& sizes, AttentionEngine engine, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& h, const nn::OrderedInputs& inputs) override;
  void init_weights(uint64_t seed, const std::string& prefix) override;

 private:
  nn::LayerNorm layer_norm1_{nullptr};
  std::shared_ptr<VisionAttention> self_attn_;
  nn::LayerNorm layer_norm2_{nullptr};
  std::shared_ptr<VisionFeedForward> mlp_;
};

/// Embeddings, blocks and a last norm: from patches of pixels to a vector a patch.
class VisionTransformer : public torch::nn::Module {
 public:
  /// Throws Error when dim is no multiple of n_heads.
  VisionTransformer(const Siglip2Sizes& sizes, AttentionEngine engine,
                    const at::TensorOptions& options);
  /// patches: float [1, patches, patch_dim], the images of `grids` one after another, each row by
  /// row; masks: kEncoderMaskName, for one row of all patches. Returns [1, patches, dim]. Throws
  /// Error when the grids have another number of patches.
  at::Tensor forward(const at::Tensor& patches, std::span<const ImageGrid> grids,
                     const AttentionMasks& masks);
  /// TorchTitan's: truncated normals of standard deviation 0.02, normal position embeddings;
  /// biases, which TorchTitan leaves as they come, are 0. `prefix`: "encoder", or "" standing
  /// alone.
  void init_weights(uint64_t seed, const std::string& prefix);
  const std::vector<std::shared_ptr<VisionBlock>>& layers() const { return layers_; }

 private:
  Siglip2Sizes sizes_;
  std::shared_ptr<VisionEmbeddings> embeddings_;
  std::vector<std::shared_ptr<VisionBlock>> layers_;
  nn::LayerNorm post_layernorm_{nullptr};
};

}  // namespace coeus::vlm
