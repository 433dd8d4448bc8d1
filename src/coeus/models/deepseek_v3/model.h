// DeepSeek-V3 (arXiv 2412.19437), V2 and their smaller sisters, with TorchTitan's parameter names
// and initialisation.
#pragma once

#include "coeus/models/deepseek_v3/multi_token_prediction.h"
#include "coeus/models/model.h"
#include "coeus/nn/embedding.h"
#include "coeus/nn/linear.h"

namespace coeus::deepseek_v3 {

/// Embedding, blocks, norm and output; for training also layers that predict further tokens.
class Transformer : public Model {
 public:
  Transformer(const Sizes& sizes, AttentionEngine engine, const at::TensorOptions& options);

  at::Tensor forward(const at::Tensor& tokens, const at::Tensor& positions,
                     const AttentionMasks& masks) override;
  at::Tensor forward_cached(const at::Tensor& tokens, const at::Tensor& positions,
                            const AttentionMasks& masks, nn::KeyValueCache& cache) override;
  /// The next token's loss and, where there are prediction layers, prediction_loss_weight times the
  /// mean of theirs.
  at::Tensor loss_sum(const at::Tensor& tokens, const at::Tensor& labels,
                      const at::Tensor& positions, const AttentionMasks& masks) override;
  AttentionMasks get_attention_masks(std::span<const SequenceLayout> rows) const override;
  std::vector<OrderSensitiveBuffer> get_order_sensitive_buffers(int64_t batch_size,
                                                                int64_t seq_len) const override;
  void init_weights(uint64_t seed) override;
  std::vector<nn::Block*> blocks() override;
  int64_t vocab_size() const override { return sizes_.vocab_size; }
  double flops_per_token(int64_t seq_len) const override;
  ActivationBytes activation_bytes_per_token(int64_t element_size) const override;
  AttentionShape attention_shape() const override {
    return {sizes_.n_heads, sizes_.attention().qk_head_dim(), sizes_.v_head_dim};
  }

 private:
  /// The last block's output, before the norm.
  at::Tensor hidden(const at::Tensor& tokens, const nn::OrderedInputs& inputs);

  Sizes sizes_;
  at::Tensor rope_table_;
  nn::Embedding tok_embeddings_{nullptr};
  std::vector<std::shared_ptr<TransformerBlock>> layers_;
  std::vector<std::shared_ptr<PredictionLayer>> prediction_layers_;
  nn::RMSNorm norm_{nullptr};
  nn::Linear output_{nullptr};
};

}  // namespace coeus::deepseek_v3
