// TorchTitan's vision-language model, with its parameter names and initialisation: a Llama 3 whose
// image tokens are replaced by what Siglip2's encoder sees.
#pragma once

#include <memory>

#include "coeus/models/llama3/model.h"
#include "coeus/models/model.h"
#include "coeus/models/vlm/masks.h"
#include "coeus/models/vlm/projector.h"
#include "coeus/models/vlm/siglip2.h"

namespace coeus::vlm {

/// What a flavour fixes.
struct Sizes {
  llama3::Sizes decoder;  ///< its mask counts for nothing: see `masks`
  Siglip2Sizes encoder;
  Masks masks = document_masks();
};

/// Encoder, projector and decoder. The decoder's parameters are the model's own, named as llama3
/// names them.
class Transformer : public Model {
 public:
  Transformer(const Sizes& sizes, AttentionEngine engine, const at::TensorOptions& options);

  at::Tensor hidden_states(const at::Tensor& tokens, const at::Tensor& positions,
                           const AttentionMasks& masks, const ImageTensors& images) override;
  at::Tensor output(const at::Tensor& normed) override { return decoder_->output(normed); }
  at::Tensor loss_by_chunks(const at::Tensor& normed, const at::Tensor& labels, int64_t chunk_size,
                            const CrossEntropy& cross_entropy) override {
    return decoder_->loss_by_chunks(normed, labels, chunk_size, cross_entropy);
  }
  at::Tensor forward_cached(const at::Tensor& tokens, const at::Tensor& positions,
                            const AttentionMasks& masks, nn::KeyValueCache& cache) override;
  /// The decoder's mask.
  AttentionMasks get_attention_masks(std::span<const SequenceLayout> rows) const override;
  /// The encoder's mask.
  AttentionMasks get_image_masks(const SequenceLayout& images) const override;
  std::vector<OrderSensitiveBuffer> get_order_sensitive_buffers(int64_t batch_size,
                                                                int64_t seq_len) const override;
  std::string pipeline_obstacle() const override {
    return "its images pass through an encoder beside the layers, which no stage has yet; take "
           "another model";
  }
  void move_buffers(const at::Device& device) override;
  void init_weights(uint64_t seed) override;
  /// The encoder's, then the decoder's.
  std::vector<nn::Block*> blocks() override;
  std::vector<nn::Block*> decoder_blocks() override { return decoder_->blocks(); }
  int64_t hidden_size() const override { return decoder_->hidden_size(); }
  int64_t vocab_size() const override { return decoder_->vocab_size(); }
  int64_t patch_dim() const override { return sizes_.encoder.patch_dim(); }
  /// As TorchTitan counts: the encoder's parameters as if every token went through them, its
  /// attention not at all.
  double flops_per_token(int64_t seq_len) const override;
  /// As if every token were an image's.
  ActivationBytes activation_bytes_per_token(int64_t element_size) const override;
  /// The decoder's.
  AttentionShape attention_shape() const override { return decoder_->attention_shape(); }
  std::map<std::string, int64_t> layers_by_mask() const override {
    return {{kDecoderMaskName, sizes_.decoder.n_layers}};
  }

 private:
  Sizes sizes_;
  std::shared_ptr<VisionTransformer> encoder_;
  std::shared_ptr<Projector> projector_;
  std::shared_ptr<llama3::Transformer> decoder_;
};

}  // namespace coeus::vlm
