// DeepSeek-V3 (arXiv 2412.19437), V2 and their smaller sisters, with TorchTitan's parameter names
// and initialisation.
#pragma once

#include "coeus/models/decoder.h"
#include "coeus/models/deepseek_v3/multi_token_prediction.h"
#include "coeus/nn/whole_rows.h"

namespace coeus::deepseek_v3 {

/// A decoder that for training may have layers that predict further tokens.
class Transformer : public Decoder {
 public:
  Transformer(const Sizes& sizes, AttentionEngine engine, const at::TensorOptions& options);

  const Sizes& sizes() const { return sizes_; }

  /// The next token's loss and, where there are prediction layers, prediction_loss_weight times the
  /// mean of theirs.
  at::Tensor loss_sum(const at::Tensor& tokens, const at::Tensor& labels,
                      const at::Tensor& positions, const AttentionMasks& masks) override;
  void init_weights(uint64_t seed) override;
  /// With prediction layers, which read the first and the last stage at once.
  std::string pipeline_obstacle() const override;
  std::vector<nn::Block*> blocks() override;
  double flops_per_token(int64_t seq_len) const override;
  AttentionShape attention_shape() const override {
    return {sizes_.n_heads, sizes_.attention().qk_head_dim(), sizes_.v_head_dim, sizes_.n_heads};
  }

 private:
  double block_bytes_per_token(double element_size) const override;

  Sizes sizes_;
  std::vector<std::shared_ptr<PredictionLayer>> prediction_layers_;
  nn::WholeRows whole_rows_{nullptr};  ///< null without them
};

}  // namespace coeus::deepseek_v3
